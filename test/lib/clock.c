/*
 * A clock that a test can set.  This library is preloaded into a server.  The
 * server's time of day is then the machine's plus a number of microseconds, which
 * the file named by ONCE_TEST_CLOCK has as a 64-bit integer.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead = NULL;

static __attribute__((constructor)) void
map_file(void)
{
	const char *name = getenv("ONCE_TEST_CLOCK");
	int			fd = name == NULL ? -1 : open(name, O_RDONLY);
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		ahead = map;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec now;
	int64_t		usec;

	(void) tz;
	clock_gettime(CLOCK_REALTIME, &now);
	usec = (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000 +
		(ahead == NULL ? 0 : *ahead);
	tv->tv_sec = usec / 1000000;
	tv->tv_usec = usec % 1000000;
	return 0;
}
