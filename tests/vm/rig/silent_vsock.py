# SPDX-License-Identifier: MIT
"""A vsock device whose host never answers: the least of a vhost-user back end. QEMU needs no help of the kernel's for it."""

import array
import socket
import struct
import threading

from .qemu import MIB, parse_size

GET_FEATURES, GET_VRING_BASE, GET_PROTOCOL_FEATURES, GET_CONFIG = 1, 11, 15, 24
FEATURES = 1 << 32 | 1 << 30  # VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES
PROTOCOL_FEATURES = 1 << 9  # VHOST_USER_PROTOCOL_F_CONFIG
HEADER = struct.Struct('<III')
VERSION_REPLY = 0x1 | 0x4
FDS_MAX = 8


class SilentVsock:
    """Use it as a context manager around the guest, whose qemu_args are arguments(boot)."""

    def __init__(self, path, cid):
        self.path = path
        self.cid = cid
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self._connection = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.close()
        if self._connection is not None:
            self._connection.close()

    def arguments(self, boot='1G'):
        """The device, and boot memory that could be shared with it."""
        return ('-object', f'memory-backend-memfd,id=boot,size={parse_size(boot) // MIB}M,share=on', '-machine', 'memory-backend=boot',
                '-chardev', f'socket,id=vsock,path={self.path}', '-device', 'vhost-user-vsock-pci,chardev=vsock')

    def _serve(self):
        try:
            self._connection, _ = self._server.accept()
            while self._message():
                pass
        except OSError:
            pass  # the guest, or the test, has ended

    def _message(self):
        """Descriptors of memory and queues come along; nobody looks at them."""
        head, ancillary, _, _ = self._connection.recvmsg(HEADER.size, socket.CMSG_SPACE(FDS_MAX * array.array('i').itemsize))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                for fd in array.array('i', data):
                    socket.close(fd)
        if len(head) < HEADER.size:
            return False
        request, _, size = HEADER.unpack(head)
        payload = self._connection.recv(size, socket.MSG_WAITALL) if size else b''
        answer = self._answer(request, payload)
        if answer is not None:
            self._connection.sendall(HEADER.pack(request, VERSION_REPLY, len(answer)) + answer)
        return True

    def _answer(self, request, payload):
        if request == GET_FEATURES:
            return struct.pack('<Q', FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack('<Q', PROTOCOL_FEATURES)
        if request == GET_VRING_BASE:
            return payload
        if request == GET_CONFIG:
            offset, size, flags = struct.unpack_from('<III', payload)
            return struct.pack('<III', offset, size, flags) + struct.pack('<Q', self.cid)[offset:offset + size]
        return None
