/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/un.h>

#include "macro.h"

/* -ENAMETOOLONG: a path of more than 107 bytes. */
int unix_address(const char *path, struct sockaddr_un *ret);

/* A connected stream socket that does not block. Never waits: a peer whose backlog is full is -EAGAIN. */
int unix_connect(const char *path);
