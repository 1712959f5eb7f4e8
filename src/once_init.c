/*-------------------------------------------------------------------------
 *
 * once_init.c
 *	  Module magic, and the call of every module's initialisation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "fmgr.h"
#include "meta/meta_cache.h"
#include "meta/meta_names.h"
#include "meta/meta_parameters.h"
#include "once_debug.h"
#include "once_guc.h"
#include "once_next_id.h"
#include "once_rest.h"
#include "qam/qam.h"
#include "queue/queue_hold.h"
#include "queue/queue_unacked.h"
#include "stats/stats.h"
#include "wake/wake.h"
#include "worker/worker_evict.h"
#include "worker/worker_launcher.h"
#include "worker/worker_shared.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	once_debug_init();
	once_guc_init();
	once_rest_init();
	once_draw_init();
	once_stats_init();
	once_wake_init();
	qam_init();
	once_meta_init();
	once_names_init();
	once_parameters_init();
	once_unacked_init();
	once_hold_init();
	once_shared_init();
	once_launcher_init();
	once_evict_init();
}
