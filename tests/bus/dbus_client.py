# SPDX-License-Identifier: MIT
"""A D-Bus client that shows what busctl does not: error names, signals in their order, file descriptors, and a
connection without a bus daemon."""

import array
import os
import socket
import struct
import time

from .peers import patience

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
ALLOW_INTERACTIVE = 4
NAME_OWNER = ('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus')
HEADER_KEYS = {1: 'path', 2: 'interface', 3: 'member', 4: 'error', 5: 'reply_serial', 6: 'destination', 7: 'sender',
               8: 'signature', 9: 'fds'}
NUMBERS = {'y': 'B', 'b': 'I', 'n': 'h', 'q': 'H', 'i': 'i', 'u': 'I', 'x': 'q', 't': 'Q', 'd': 'd', 'h': 'I'}
ALIGN = {'y': 1, 'b': 4, 'n': 2, 'q': 2, 'i': 4, 'u': 4, 'x': 8, 't': 8, 'd': 8, 'h': 4, 's': 4, 'o': 4, 'g': 1, 'a': 4,
         'v': 1, '(': 8, '{': 8}


class DBusError(Exception):
    def __init__(self, name, text):
        super().__init__(f'{name}: {text}')
        self.name = name.rpartition('.')[2]
        self.full_name = name
        self.text = text


def split_signature(signature):
    """'sa{sv}' → ['s', 'a{sv}']"""
    parts, i = [], 0
    while i < len(signature):
        j = i
        while signature[j] == 'a':
            j += 1
        if signature[j] in '({':
            depth = 1
            while depth:
                j += 1
                depth += (signature[j] in '({') - (signature[j] in ')}')
        parts.append(signature[i:j + 1])
        i = j + 1
    return parts


class Writer:
    """Basic types, and variants of them as (type, value), are all that our calls need."""

    def __init__(self):
        self.data = bytearray()

    def align(self, n):
        self.data += b'\0' * (-len(self.data) % n)

    def put(self, kind, value):
        self.align(ALIGN[kind])
        if kind in NUMBERS:
            self.data += struct.pack('<' + NUMBERS[kind], value)
        elif kind in 'so':
            text = value.encode()
            self.data += struct.pack('<I', len(text)) + text + b'\0'
        elif kind == 'g':
            self.data += bytes([len(value)]) + value.encode() + b'\0'
        elif kind == 'v':
            self.put('g', value[0])
            self.put(*value)
        else:
            raise ValueError(kind)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, code):
        size = struct.calcsize(code)
        self.at += -self.at % size
        value = struct.unpack_from('<' + code, self.data, self.at)[0]
        self.at += size
        return value

    def text(self, length):
        value = self.data[self.at:self.at + length].decode()
        self.at += length + 1
        return value

    def get(self, signature):
        kind = signature[0]
        if kind in NUMBERS:
            value = self.number(NUMBERS[kind])
            return bool(value) if kind == 'b' else value
        if kind in 'so':
            return self.text(self.number('I'))
        if kind == 'g':
            return self.text(self.number('B'))
        if kind == 'v':
            return self.get(self.text(self.number('B')))
        if kind == 'a':
            return self.array(signature[1:])
        self.at += -self.at % 8
        return tuple(self.get(part) for part in split_signature(signature[1:-1]))

    def array(self, element):
        length = self.number('I')
        self.at += -self.at % ALIGN[element[0]]
        end, values = self.at + length, []
        while self.at < end:
            values.append(self.get(element))
        return dict(values) if element[0] == '{' else values


class Client:
    """hello: there is a bus daemon at the other end. uid: who connects (as root one may be anybody)."""

    def __init__(self, path, hello=True, uid=0, timeout=15):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience(timeout))
        self.serial, self.buffer, self.fds = 0, b'', []
        self.replies, self.signals = {}, []
        self.hello = hello
        os.setegid(uid)
        os.seteuid(uid)
        try:
            self.socket.connect(str(path))
            identity = str(os.geteuid()).encode().hex()
            self.socket.sendall(f'\0AUTH EXTERNAL {identity}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n'.encode())
        finally:
            os.seteuid(0)
            os.setegid(0)
        for answer in (b'OK ', b'AGREE_UNIX_FD'):
            while b'\r\n' not in self.buffer:
                self._receive()
            line, _, self.buffer = self.buffer.partition(b'\r\n')
            if not line.startswith(answer):
                raise ConnectionError(line)
        self.name = self.call('Hello', at=NAME_OWNER)[0] if hello else None

    def close(self):
        self.socket.close()

    def _receive(self):
        data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(64))
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array('i')
                fds.frombytes(content)
                self.fds += fds
        if not data:
            raise ConnectionError('hung up')
        self.buffer += data

    def send(self, member, signature='', *arguments, at, sender=None, interactive=False):
        """Sends a call and returns its serial."""
        body = Writer()
        for kind, value in zip(signature, arguments):
            body.put(kind, value)
        self.serial += 1
        destination, path, interface = at
        fields = [(1, 'o', path), (2, 's', interface), (3, 's', member)]
        if self.hello:
            fields.append((6, 's', destination))
        if sender:
            fields.append((7, 's', sender))
        if signature:
            fields.append((8, 'g', signature))
        header = Writer()
        for key, kind, value in fields:
            header.align(8)
            header.put('y', key)
            header.put('g', kind)
            header.put(kind, value)
        message = Writer()
        message.data += struct.pack('<cBBBIII', b'l', CALL, ALLOW_INTERACTIVE if interactive else 0, 1, len(body.data), self.serial, len(header.data))
        message.data += header.data
        message.align(8)
        self.socket.sendall(message.data + body.data)
        return self.serial

    def _take_message(self):
        """One message out of the buffer into replies or signals; False: not whole yet."""
        if len(self.buffer) < 16:
            return False
        body_length, serial, fields_length = struct.unpack_from('<III', self.buffer, 4)
        begin = 16 + fields_length + -fields_length % 8
        if len(self.buffer) < begin + body_length:
            return False
        kind = self.buffer[1]
        header = Reader(self.buffer[:begin])
        header.at = 12
        fields = {HEADER_KEYS.get(key, key): value for key, value in header.get('a(yv)')}
        body = Reader(self.buffer[begin:begin + body_length])
        values = tuple(body.get(part) for part in split_signature(fields.get('signature', '')))
        self.buffer = self.buffer[begin + body_length:]
        if kind in (RETURN, ERROR):
            self.replies[fields['reply_serial']] = (kind, fields, values)
        elif kind == SIGNAL:
            self.signals.append((fields['member'], values, time.monotonic()))
        assert serial
        return True

    def pump(self, seconds=0.0):
        """Takes what comes in that time."""
        deadline = time.monotonic() + seconds
        timeout = self.socket.gettimeout()
        try:
            while True:
                while self._take_message():
                    pass
                self.socket.settimeout(max(deadline - time.monotonic(), 0.0001))
                try:
                    self._receive()
                except (TimeoutError, socket.timeout, BlockingIOError):
                    return
        finally:
            self.socket.settimeout(timeout)

    def answered(self, serial):
        self.pump()
        return serial in self.replies

    def reply(self, serial):
        """Waits for the answer to a call; returns its values or raises DBusError."""
        while serial not in self.replies:
            if not self._take_message():
                self._receive()
        kind, fields, values = self.replies.pop(serial)
        if kind == ERROR:
            raise DBusError(fields['error'], values[0] if values else '')
        return values

    def call(self, member, signature='', *arguments, at, sender=None):
        return self.reply(self.send(member, signature, *arguments, at=at, sender=sender))

    def listen(self):
        if self.hello:
            self.call('AddMatch', 's', "type='signal',path='/org/vmtide/Actuator1'", at=NAME_OWNER)

    def wait_signal(self, member, timeout=5.0, where=lambda *values: True):
        """The first such signal, which is then forgotten with all before it."""
        timeout = patience(timeout)
        deadline = time.monotonic() + timeout
        while True:
            for i, (name, values, _) in enumerate(self.signals):
                if name == member and where(*values):
                    del self.signals[:i + 1]
                    return values
            if time.monotonic() > deadline:
                raise AssertionError(f'no signal {member} in {timeout} s; got {self.signals}')
            self.pump(0.02)
