# SPDX-License-Identifier: MIT
"""Random work, faults and calls in real guests for as long as one likes, and a balance at the end (scripts/soak)."""
