// Two ends of a TCP connection: how long a round trip takes, and how long a gigabyte. Prints nanoseconds.
//
//   stream server PORT
//   stream trips ADDRESS PORT COUNT      COUNT times 64 bytes there and back
//   stream bulk ADDRESS PORT MIB         so many MiB one way, until the other end has them all
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[256 * 1024];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void read_all(int socket, size_t length) {
    for (size_t at = 0; at < length;) {
        ssize_t n = read(socket, buffer, length - at < sizeof buffer ? length - at : sizeof buffer);
        if (n <= 0) fail("read");
        at += n;
    }
}

static void write_all(int socket, size_t length) {
    for (size_t at = 0; at < length;) {
        ssize_t n = write(socket, buffer, length - at < sizeof buffer ? length - at : sizeof buffer);
        if (n <= 0) fail("write");
        at += n;
    }
}

static void serve(int socket) {
    char kind;
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (read(socket, &kind, 1) != 1) return;
    if (kind == 't') {
        ssize_t n;
        while ((n = read(socket, buffer, 64)) > 0)
            if (write(socket, buffer, n) != n) return;
        return;
    }
    while (read(socket, buffer, sizeof buffer) > 0) {
    }
    if (write(socket, "1", 1) != 1) fail("write");
}

static int listen_on(int port) {
    int socket_ = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(socket_, (void *)&address, sizeof address) || listen(socket_, 16)) fail("listen");
    return socket_;
}

static int connect_to(const char *host, int port) {
    int socket_ = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(socket_, (void *)&address, sizeof address)) fail("connect");
    return socket_;
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int count, char **words) {
    if (count < 3) return 2;
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(words[1], "server")) {
        int listener = listen_on(atoi(words[2]));
        for (;;) {
            int client = accept(listener, NULL, NULL);
            if (client >= 0 && !fork()) serve(client), exit(0);
            close(client);
        }
    }
    if (count < 5) return 2;
    int socket_ = connect_to(words[2], atoi(words[3]));
    long long amount = atoll(words[4]), start = now();
    if (!strcmp(words[1], "trips")) {
        if (write(socket_, "t", 1) != 1) fail("write");
        start = now();
        for (long long at = 0; at < amount; at++) write_all(socket_, 64), read_all(socket_, 64);
        printf("%lld\n", (now() - start) / amount);
    } else {
        if (write(socket_, "b", 1) != 1) fail("write");
        start = now();
        write_all(socket_, amount << 20);
        shutdown(socket_, SHUT_WR);
        read_all(socket_, 1);
        printf("%lld\n", (now() - start) * 1024 / amount);
    }
    return 0;
}
