// Answers the calls of a container that its filter notifies of: `listener SOCKET COUNT` takes COUNT connections, says what
// each was told, and answers one call of each with EXDEV.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int take(int connection)
{
	char text[8192], control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {text, sizeof text};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t length = recvmsg(connection, &message, 0);
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	if (length <= 0 || !rights || rights->cmsg_type != SCM_RIGHTS)
		return fail("receive");
	printf("%.*s\n", (int)length, text);
	fflush(stdout);
	int listener;
	memcpy(&listener, CMSG_DATA(rights), sizeof listener);
	struct seccomp_notif call;
	memset(&call, 0, sizeof call);
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
		return fail("hear of a call");
	struct seccomp_notif_resp answer = {.id = call.id, .error = -EXDEV};
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer))
		return fail("answer a call");
	printf("{\"call\":%d}\n", call.data.nr);
	fflush(stdout);
	return close(listener);
}

int main(int count, char **words)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	if (count != 3 || strlen(words[1]) >= sizeof name.sun_path)
		return 2;
	strcpy(name.sun_path, words[1]);
	int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(socket_fd, (struct sockaddr *)&name, sizeof name) || listen(socket_fd, 4))
		return fail("listen");
	puts("listening");
	fflush(stdout);
	for (int n = atoi(words[2]); n > 0; n--) {
		int connection = accept(socket_fd, NULL, NULL);
		if (connection < 0 || take(connection))
			return fail("accept");
		close(connection);
	}
	return 0;
}
