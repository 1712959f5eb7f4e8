/*-------------------------------------------------------------------------
 *
 * once_shmem.c
 *	  Shared memory that is made when the server starts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "miscadmin.h"
#include "once_shmem.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define MAX_PIECES		8

static const OnceShmem *pieces[MAX_PIECES];
static int	npieces = 0;
static shmem_request_hook_type next_shmem_request_hook = NULL;
static shmem_startup_hook_type next_shmem_startup_hook = NULL;

static void request_memory(void);
static void make_at_startup(void);
static void make_piece(const OnceShmem *piece);

/*
 * once_shmem_add asks for a piece of memory.  *piece must stay.  Returns false,
 * and does nothing, if the library is not being preloaded: then there is none.
 */
bool
once_shmem_add(const OnceShmem *piece)
{
	if (!process_shared_preload_libraries_in_progress)
		return false;
	Assert(npieces < MAX_PIECES);
	if (npieces == 0)
	{
		next_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = request_memory;
		next_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = make_at_startup;
	}
	pieces[npieces++] = piece;
	return true;
}

static void
request_memory(void)
{
	int			i;

	if (next_shmem_request_hook != NULL)
		next_shmem_request_hook();
	for (i = 0; i < npieces; i++)
	{
		RequestAddinShmemSpace(MAXALIGN(pieces[i]->size()));
		if (pieces[i]->more != NULL)
			RequestAddinShmemSpace(pieces[i]->more());
		if (pieces[i]->lock)
			RequestNamedLWLockTranche(pieces[i]->name, 1);
	}
}

static void
make_at_startup(void)
{
	int			i;

	if (next_shmem_startup_hook != NULL)
		next_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (i = 0; i < npieces; i++)
		make_piece(pieces[i]);
	LWLockRelease(AddinShmemInitLock);
}

static void
make_piece(const OnceShmem *piece)
{
	Size		size = piece->size();
	bool		found;
	void	   *memory = ShmemInitStruct(piece->name, size, &found);

	if (!found)
		memset(memory, 0, size);
	piece->attach(memory, piece->lock ? &GetNamedLWLockTranche(piece->name)->lock : NULL,
				  !found);
}
