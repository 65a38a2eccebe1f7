/* Does nothing, for as long as it is left alone: the first process of a Pod, and of a node. It buries its orphans. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void bury(int number) {
    (void)number;
    while (waitpid(-1, 0, WNOHANG) > 0) {
    }
}

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(void) {
    signal(SIGCHLD, bury);
    signal(SIGTERM, end);
    signal(SIGINT, end);
    for (;;) {
        pause();
    }
}
