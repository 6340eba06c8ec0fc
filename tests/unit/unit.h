/* SPDX-License-Identifier: MIT */
#pragma once

/* What cmocka wants before it, in its order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
