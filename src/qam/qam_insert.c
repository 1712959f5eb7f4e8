/*-------------------------------------------------------------------------
 *
 * qam_insert.c
 *	  Enqueueing: what a new slot says, and whether it goes to a lane, to its
 *	  group or to the schedule.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/detoast.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "qam/qam_directory.h"
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_insert.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_schedule.h"
#include "stats/stats.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "wake/wake.h"

StaticAssertDecl(QAM_MAX_PRIORITY == QAM_LANES - 1 &&
				 QAM_DEFAULT_PRIORITY == QAM_DEFAULT_LANE,
				 "a lane for each priority");

static inline bool
goes_to_lane(const QamEntry *entry, TimestampTz now)
{
	return entry->group == 0 && entry->ready_at <= now;
}

/*
 * Note for waiters that n entries like the first one have been appended.  If
 * the transaction fails, the next message of the group may be ready.
 */
static void
note_appended(Relation index, const QamEntry *first, int n, TimestampTz now)
{
	Oid			relid = index->rd_index->indrelid;

	once_wake_note_sent(relid, n, first->ready_at > now ? first->ready_at : 0);
	if (first->group != 0)
		once_wake_note_look(relid, ONCE_WAKE_AT_ABORT);
}

/*
 * Append entries in the given state.  Entries due later go to the schedule,
 * and those of groups to the end of their chains.  The others go to their
 * lanes, those that follow one another in the same lane together.
 */
static void
append_entries(Relation index, const QamEntry *entries, int nentries,
			   uint8 state, uint64 claim)
{
	TimestampTz now = GetCurrentTimestamp();
	QamSlot		slots[64];
	int			i = 0;

	while (i < nentries)
	{
		const QamEntry *first = &entries[i];
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		do
		{
			QamSlot    *slot = &slots[n++];

			memset(slot, 0, sizeof(QamSlot));
			slot->tid = entries[i].tid;
			slot->group_hash = entries[i].group;
			slot->ready_at = entries[i].ready_at;
			slot->state = state;
			slot->claim = claim;
			i++;
		} while (i < nentries && n < (int) lengthof(slots) &&
				 goes_to_lane(first, now) && goes_to_lane(&entries[i], now) &&
				 entries[i].lane == first->lane);

		if (first->ready_at > now)
			qam_schedule_append(index, slots, first->lane, now);
		else if (first->group != 0)
			qam_group_append(index, slots, NULL);
		else
			qam_lane_append(index, first->lane, slots, n);
		if (state == QAM_SLOT_APPENDED)
			note_appended(index, first, n, now);
	}
}

/*
 * Enqueue rows that the current transaction has put into the heap.
 *
 * A new slot is APPENDED, and has the top-level transaction id of its
 * inserter.  So walks pass it by, without looking at the heap, until that
 * transaction has ended.  A transaction without an id has inserted nothing: it
 * indexes rows of others, in the last step of a concurrent build.  Their slots
 * are READY.
 */
static void
append(Relation index, const QamEntry *entries, int nentries, bool sent)
{
	FullTransactionId xid = GetTopFullTransactionIdIfAny();

	if (FullTransactionIdIsValid(xid))
	{
		append_entries(index, entries, nentries, QAM_SLOT_APPENDED,
					   QamMakeXidClaim(U64FromFullTransactionId(xid), UINT64CONST(0)));
		if (sent && index->rd_index->indisvalid)
			once_stats_count(index->rd_index->indrelid, ONCE_COUNT_SENT, nentries);
	}
	else
		qam_append_ready(index, entries, nentries);
}

/*
 * qam_append enqueues rows that the current transaction has put into the heap.
 * They are offered in this order.
 */
void
qam_append(Relation index, const QamEntry *entries, int nentries)
{
	append(index, entries, nentries, true);
}

/*
 * qam_append_ready enqueues rows that are in the heap, whichever transactions
 * have inserted them.
 */
void
qam_append_ready(Relation index, const QamEntry *entries, int nentries)
{
	append_entries(index, entries, nentries, QAM_SLOT_READY, 0);
}

/*
 * Returns the hash of a message's group.  Raises an error if the message
 * cannot have that group.
 */
static uint32
entry_group(Relation index, Datum value, int lane)
{
	Size		len = toast_raw_datum_size(value) - VARHDRSZ;
	text	   *group_id;
	uint32		hash;

	if (len < 1 || len > QAM_MAX_GROUP_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group_id must be between 1 and %d bytes long", QAM_MAX_GROUP_ID),
				 errdetail("The value given is %zu bytes long.", len)));
	if (lane != QAM_DEFAULT_LANE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a message of a group cannot have a priority"),
				 errdetail("The priority given is %d.", lane),
				 errhint("Leave the priority of messages with a group_id at %d.",
						 QAM_DEFAULT_LANE)));
	group_id = DatumGetTextPP(value);
	hash = qam_directory_hash(qam_meta_group_key(index), VARDATA_ANY(group_id),
							  VARSIZE_ANY_EXHDR(group_id));
	if ((Pointer) group_id != DatumGetPointer(value))
		pfree(group_id);
	return hash;
}

/*
 * qam_entry makes an entry from the values of the index columns.  Raises an
 * error if a queue does not accept them.
 */
QamEntry
qam_entry(Relation index, const Datum *values, const bool *isnull, ItemPointer tid)
{
	QamEntry	entry = {.lane = QAM_DEFAULT_LANE,.group = 0,.ready_at = 0};

	entry.tid = *tid;
	if (!isnull[QAM_ATTR_PRIORITY - 1])
	{
		int16		priority = DatumGetInt16(values[QAM_ATTR_PRIORITY - 1]);

		if (priority < 0 || priority >= QAM_LANES)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("priority %d is out of range", priority),
					 errdetail("A message's priority is between 0 and %d; %d is served first.",
							   QAM_LANES - 1, QAM_LANES - 1)));
		entry.lane = priority;
	}
	if (!isnull[QAM_ATTR_DELIVER_AT - 1])
	{
		entry.ready_at = DatumGetTimestampTz(values[QAM_ATTR_DELIVER_AT - 1]);
		if (TIMESTAMP_NOT_FINITE(entry.ready_at))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("deliver_at must be finite"),
					 errdetail("The value given is %s.",
							   timestamptz_to_str(entry.ready_at))));
	}
	if (!isnull[QAM_ATTR_GROUP_ID - 1])
		entry.group = entry_group(index, values[QAM_ATTR_GROUP_ID - 1], entry.lane);
	return entry;
}

/*
 * qaminsert is aminsert.  It is called for any INSERT, COPY or UPDATE of the
 * table.  "unchanged" tells that it is an UPDATE of other columns than ours.
 * That sends nothing.
 */
bool
qaminsert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
		  Relation heap, IndexUniqueCheck unique, bool unchanged,
		  struct IndexInfo *info)
{
	QamEntry	entry = qam_entry(index, values, isnull, tid);

	append(index, &entry, 1, !unchanged);
	return false;
}
