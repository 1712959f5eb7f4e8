/*-------------------------------------------------------------------------
 *
 * worker_workers.h
 *	  Starting and stopping the processes of workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_WORKERS_H
#define WORKER_WORKERS_H

#include "datatype/timestamp.h"

#define ONCE_WORKER_TABLE		"worker"

/* The prefix in once_options_lock for workers; no table of a queue begins like this */
#define ONCE_WORKER_LOCK		"worker "

/* Columns of once.worker */
#define Natts_worker			9
#define Anum_worker_name		1
#define Anum_worker_queue		2
#define Anum_worker_handler		3
#define Anum_worker_concurrency	4
#define Anum_worker_max_messages 5
#define Anum_worker_role		6
#define Anum_worker_role_id		7
#define Anum_worker_paused		8
#define Anum_worker_created_at	9

extern TimestampTz once_workers_reconcile(bool *any);

#endif							/* WORKER_WORKERS_H */
