/*-------------------------------------------------------------------------
 *
 * once_guc.c
 *	  The extension's settings, in alphabetical order.
 *
 * The variables behind them are defined where they are used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "meta/meta_remote.h"
#include "miscadmin.h"
#include "once_guc.h"
#include "qam/qam.h"
#include "queue/queue_maintain.h"
#include "queue/queue_unacked.h"
#include "queue/queue_wait.h"
#include "stats/stats.h"
#include "utils/guc.h"
#include "wake/wake.h"
#include "worker/worker_launcher.h"

static const struct config_enum_entry remote_effects_options[] = {
	{"two_phase", ONCE_REMOTE_TWO_PHASE, false},
	{"error", ONCE_REMOTE_ERROR, false},
	{NULL, 0, false}
};

static const struct config_enum_entry shard_catalog_options[] = {
	{"citus", ONCE_SHARDS_OF_CITUS, false},
	{"fake", ONCE_SHARDS_FAKE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry unacked_options[] = {
	{"error", ONCE_UNACKED_ERROR, false},
	{"redeliver", ONCE_UNACKED_REDELIVER, false},
	{NULL, 0, false}
};

/*
 * once_guc_init defines all settings and reserves their prefix.
 */
void
once_guc_init(void)
{
	DefineCustomIntVariable("once.debug_fallback",
							"Sets how often a waiting call searches without being woken.",
							"Meant for the extension's own tests.",
							&once_wake_fallback,
							ONCE_WAKE_FALLBACK, 1, INT_MAX,
							PGC_SUSET,
							GUC_UNIT_MS | GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("once.flush_claims",
							 "Flushes the WAL of a claim before the message is delivered.",
							 "Without it, a delivery shortly before a crash of the server "
							 "may not count as an attempt.",
							 &qam_flush_claims,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("once.log_hints",
							 "Writes the hints on queue index pages to the WAL.",
							 "Meant for comparing the pages of a primary and a standby.",
							 &qam_log_hints,
							 false,
							 PGC_SUSET,
							 GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("once.maintenance_interval",
							"Sets how often the launcher has each database maintained.",
							"0 turns this off.  Without shared_preload_libraries there is no launcher.",
							&once_launcher_interval,
							ONCE_MAINTENANCE_INTERVAL, 0, ONCE_MAINTENANCE_INTERVAL_MAX,
							PGC_SIGHUP,
							GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("once.maintenance_timeout",
							"Limits the time that once.maintain() spends on one queue.",
							"What is left then is left for the next call; 0 turns this off.",
							&once_maintenance_timeout,
							ONCE_MAINTENANCE_TIMEOUT, 0, INT_MAX,
							PGC_USERSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomEnumVariable("once.remote_effects",
							 "Sets what happens to effects on other nodes of Citus.",
							 "When a transaction commits that has changed a queue, Citus is asked for two-phase commit, or the commit fails.",
							 &once_remote_effects,
							 ONCE_REMOTE_TWO_PHASE,
							 remote_effects_options,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("once.shard_catalog",
							 "Sets whether Citus is asked about transactions, or a stand-in for it.",
							 "Meant for the extension's own tests.",
							 &once_remote_shard_catalog,
							 ONCE_SHARDS_OF_CITUS,
							 shard_catalog_options,
							 PGC_SUSET,
							 GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							 NULL, NULL, NULL);

	/* Only the start of the server can make room */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("once.stat_max_queues",
								"Sets the number of queues whose statistics can be counted.",
								"This is for all databases of the server together.",
								&once_stats_max_queues,
								ONCE_STATS_MAX_QUEUES, 16, 1000000,
								PGC_POSTMASTER,
								0,
								NULL, NULL, NULL);

	DefineCustomEnumVariable("once.unacked",
							 "Sets what happens if received messages are not acked.",
							 "Either the commit of the transaction fails, or the messages are delivered again after it.",
							 &once_unacked_action,
							 ONCE_UNACKED_ERROR,
							 unacked_options,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("once.wake",
							 "Lets a call that waits for messages sleep until woken.",
							 "Otherwise it polls.",
							 &once_wake_enabled,
							 true,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("once.wake_delay",
							"Sets for how long a woken call lets more messages come.",
							"This is for calls that wait for messages and take several; 0 turns it off.",
							&once_wait_delay,
							0, 0, ONCE_WAKE_DELAY_MAX,
							PGC_USERSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("once");
}
