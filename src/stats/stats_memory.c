/*-------------------------------------------------------------------------
 *
 * stats_memory.c
 *	  Shared memory in which each backend has a place of its own, by the number of
 *	  its PGPROC.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "miscadmin.h"
#include "stats/stats_memory.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_PARTS		4

/* What is asked for */
static struct
{
	const char *name;
	Size		size_each;
	void	  **memory;
	void		(*init) (void *memory, int n);
}			parts[MAX_PARTS];
static int	nparts = 0;

static shmem_request_hook_type next_shmem_request_hook = NULL;
static shmem_startup_hook_type next_shmem_startup_hook = NULL;

static void request_memory(void);
static void make_at_startup(void);

/*
 * once_stats_memory_add asks for memory when the server starts.  *memory: where it
 * is, once the server has started.  init: makes it, zeroed before, for n backends.
 * Called while libraries are preloaded.
 */
void
once_stats_memory_add(const char *name, Size size_each, void **memory,
					  void (*init) (void *memory, int n))
{
	Assert(process_shared_preload_libraries_in_progress && nparts < MAX_PARTS);
	if (nparts == 0)
	{
		next_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = request_memory;
		next_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = make_at_startup;
	}
	parts[nparts].name = name;
	parts[nparts].size_each = size_each;
	parts[nparts].memory = memory;
	parts[nparts].init = init;
	nparts++;
}

static void
request_memory(void)
{
	int			i;

	if (next_shmem_request_hook != NULL)
		next_shmem_request_hook();
	for (i = 0; i < nparts; i++)
		RequestAddinShmemSpace(mul_size(MaxBackends, parts[i].size_each));
}

static void
make_at_startup(void)
{
	int			i;

	if (next_shmem_startup_hook != NULL)
		next_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (i = 0; i < nparts; i++)
	{
		Size		size = mul_size(MaxBackends, parts[i].size_each);
		bool		found;

		*parts[i].memory = ShmemInitStruct(parts[i].name, size, &found);
		if (!found)
		{
			memset(*parts[i].memory, 0, size);
			parts[i].init(*parts[i].memory, MaxBackends);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}
