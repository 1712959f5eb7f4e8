/*-------------------------------------------------------------------------
 *
 * queue_peek.c
 *	  peek, check, slots and pages: inspection that changes nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "funcapi.h"
#include "meta/meta_cache.h"
#include "meta/meta_dead.h"
#include "miscadmin.h"
#include "once_args.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_claim.h"
#include "queue/queue_open.h"
#include "queue/queue_parts.h"
#include "queue/queue_row.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#define NPEEK_COLUMNS		10
#define NCHECK_COLUMNS		4
#define NSLOT_COLUMNS		14
#define NPAGE_COLUMNS		10

PG_FUNCTION_INFO_V1(once_peek);
PG_FUNCTION_INFO_V1(once_check);
PG_FUNCTION_INFO_V1(once_slots);
PG_FUNCTION_INFO_V1(once_pages);

/* One call of peek */
typedef struct PeekCall
{
	ReturnSetInfo *rsinfo;
	OnceRefusals refusals;
	int			left;			/* how many messages may still be shown */
	QamPeeked  *peeked;			/* room for all of them */
} PeekCall;

/* One call of check, at one table */
typedef struct Check
{
	ReturnSetInfo *rsinfo;
	const char *shard;			/* its name, if it is one of several */
} Check;

/* What the callbacks of slots need */
typedef struct Inspection
{
	OnceQueue	queue;
	ReturnSetInfo *rsinfo;
} Inspection;

/* Columns whose values may be stored out of line */
static const OnceColumn wide_columns[] = {ONCE_COL_GROUP_ID, ONCE_COL_HEADERS, ONCE_COL_PAYLOAD};

/* A message whose values are being read */
typedef struct Peek
{
	OnceQueue  *queue;
	OnceRefusals *refusals;
	QamPeeked  *peeked;
	OnceTry		try;
	Datum		values[lengthof(wide_columns)];
	bool		isnull[lengthof(wide_columns)];
	text	   *error;			/* why a value could not be read; NULL: all
								 * could be read */
} Peek;

static void peek_part(PeekCall *call, OnceQueue *queue);
static void put_peeked(ReturnSetInfo *rsinfo, Peek *peek);
static void read_wide(Peek *peek);
static void read_some(void *arg, int from, int to);
static void leave_out(void *arg, int column, const ErrorData *error);
static const char *state_name(OnceQueue *queue, const QamPeeked *peeked);
static void put_fault(void *arg, const char *rule, BlockNumber block, int slot,
					  const char *detail);
static void put_slot(void *arg, const QamSlotInfo *info);
static void put_page(void *arg, const QamPageInfo *info);

/*
 * once.peek: shows the first messages; of a distributed queue, those of one shard after
 * the other.
 */
Datum
once_peek(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	OnceQueue	queue;
	PeekCall	call = {.refusals = {.queue = &queue,.what = "shown in full"}};
	OnceParts	parts;
	OnceQueue	room;
	OnceQueue  *part;

	call.left = once_queue_arg_max_messages(fcinfo, 1);
	call.peeked = palloc(sizeof(QamPeeked) * call.left);
	InitMaterializedSRF(fcinfo, 0);
	call.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	once_queue_open_whole(&queue, name, ONCE_TO_OBSERVE, "once.peek()");
	once_queue_check_columns(&queue);
	once_parts_begin(&parts, &queue, ONCE_TO_OBSERVE);
	while (call.left > 0 && (part = once_parts_next(&parts, &room, true)) != NULL)
	{
		peek_part(&call, part);
		once_parts_close(&parts, part);
	}
	once_parts_end(&parts);
	once_refusals_warn(&call.refusals);
	once_queue_close(&queue);
	return (Datum) 0;
}

/*
 * peek_part shows the first messages of a part.
 */
static void
peek_part(PeekCall *call, OnceQueue *queue)
{
	int			n;
	int			i;

	once_queue_check_columns(queue);
	n = qam_peek(queue->heap, queue->index, GetActiveSnapshot(), &queue->meta.retry,
				 call->left, call->peeked);
	once_queue_was_read(queue);
	for (i = 0; i < n; i++)
	{
		Peek		peek = {.queue = queue,.refusals = &call->refusals,.peeked = &call->peeked[i]};

		put_peeked(call->rsinfo, &peek);
		CHECK_FOR_INTERRUPTS();
	}
	call->left -= n;
}

/*
 * once.check: lists the rules that the index breaks.
 */
Datum
once_check(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	bool		strict = once_arg_bool(fcinfo, 1, "strict");
	OnceAccess	access = strict ? ONCE_TO_VERIFY : ONCE_TO_OBSERVE;
	OnceQueue	queue;
	Check		check;
	OnceParts	parts;
	OnceQueue	room;
	OnceQueue  *part;

	InitMaterializedSRF(fcinfo, 0);
	check.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	once_queue_open_whole(&queue, name, access, "once.check(strict)");
	once_parts_begin(&parts, &queue, access);
	while ((part = once_parts_next(&parts, &room, true)) != NULL)
	{
		check.shard = part == &queue ? NULL :
			RelationGetRelationName(part->heap) + strlen(ONCE_QUEUE_PREFIX);
		qam_check(part->heap, part->index, strict, put_fault, &check);
		once_parts_close(&parts, part);
	}
	once_parts_end(&parts);
	once_queue_close(&queue);
	return (Datum) 0;
}

/*
 * once.slots: shows the index slot by slot, and the states of the messages.
 */
Datum
once_slots(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	Inspection	inspection;

	InitMaterializedSRF(fcinfo, 0);
	inspection.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	once_queue_open(&inspection.queue, name, ONCE_TO_OBSERVE, "once.slots()");

	/* These columns are needed to tell whether a message is dead */
	once_queue_check_column(&inspection.queue, ONCE_COL_ENQUEUED_AT);
	once_queue_check_column(&inspection.queue, ONCE_COL_DELIVER_AT);
	once_queue_check_column(&inspection.queue, ONCE_COL_EXPIRES_AT);
	qam_each_slot(inspection.queue.heap, inspection.queue.index, &inspection.queue.meta.retry,
				  put_slot, &inspection);
	once_queue_close(&inspection.queue);
	return (Datum) 0;
}

/*
 * once.pages: shows the index page by page.
 */
Datum
once_pages(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	OnceQueue	queue;

	InitMaterializedSRF(fcinfo, 0);
	once_queue_open(&queue, name, ONCE_TO_OBSERVE, "once.pages()");
	qam_each_page(queue.index, put_page, fcinfo->resultinfo);
	once_queue_close(&queue);
	return (Datum) 0;
}

static void
put_peeked(ReturnSetInfo *rsinfo, Peek *peek)
{
	OnceQueue  *queue = peek->queue;
	QamPeeked  *peeked = peek->peeked;
	const AttrNumber *column = queue->meta.column;
	TupleDesc	desc = RelationGetDescr(queue->heap);
	Datum		values[NPEEK_COLUMNS];
	bool		isnull[NPEEK_COLUMNS] = {0};
	int			i;

	read_wide(peek);
	values[0] = heap_getattr(peeked->tuple, column[ONCE_COL_ID], desc, &isnull[0]);
	values[1] = Int32GetDatum(peeked->attempts);
	values[2] = heap_getattr(peeked->tuple, column[ONCE_COL_ENQUEUED_AT], desc, &isnull[2]);

	/* A time that has passed tells nothing. */
	values[3] = TimestampTzGetDatum(peeked->ready_at);
	isnull[3] = peeked->ready_at <= GetCurrentTimestamp();
	values[4] = heap_getattr(peeked->tuple, column[ONCE_COL_PRIORITY], desc, &isnull[4]);
	for (i = 0; i < lengthof(wide_columns); i++)
	{
		values[5 + i] = peek->values[i];
		isnull[5 + i] = peek->isnull[i];
	}

	values[8] = CStringGetTextDatum(state_name(queue, peeked));
	isnull[9] = true;
	if (peeked->stuck)
	{
		OnceMessageKey key = once_row_key(queue, peeked->tuple);

		values[9] = once_failure_stuck(once_queue_name(queue), &key, &isnull[9]);
	}
	if (isnull[9])
	{
		values[9] = PointerGetDatum(peek->error);
		isnull[9] = peek->error == NULL;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/*
 * read_wide reads those values of a message that may be out of line.  A value
 * that cannot be read becomes NULL, so that the others can still be seen by
 * whoever searches for the fault.
 */
static void
read_wide(Peek *peek)
{
	if (!HeapTupleHasExternal(peek->peeked->tuple))
	{
		read_some(peek, 0, lengthof(wide_columns));
		return;
	}
	peek->try.work = read_some;
	peek->try.refused = leave_out;
	peek->try.arg = peek;
	once_try(&peek->try, 0, lengthof(wide_columns));
}

static void
read_some(void *arg, int from, int to)
{
	Peek	   *peek = arg;
	int			i;

	for (i = from; i < to; i++)
	{
		peek->try.row = i;
		peek->values[i] = heap_getattr(peek->peeked->tuple,
									   peek->queue->meta.column[wide_columns[i]],
									   RelationGetDescr(peek->queue->heap), &peek->isnull[i]);
		if (!peek->isnull[i] && VARATT_IS_EXTERNAL(DatumGetPointer(peek->values[i])))
			peek->values[i] =
				PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(peek->values[i])));
	}
	peek->try.row = -1;
}

static void
leave_out(void *arg, int column, const ErrorData *error)
{
	Peek	   *peek = arg;

	peek->isnull[column] = true;
	if (peek->error != NULL)
		return;
	peek->error = cstring_to_text(error->message);
	once_refusals_add(peek->refusals, once_row_id(peek->queue, peek->peeked->tuple), error);
}

/*
 * state_name returns the state of a message as a word.
 */
static const char *
state_name(OnceQueue *queue, const QamPeeked *peeked)
{
	if (peeked->stuck)
		return "stuck";
	switch (peeked->state)
	{
		case QAM_PEEK_READY:
			return once_claim_is_dead(queue, peeked) ? "dead" : "ready";
		case QAM_PEEK_DELAYED:
			return "delayed";
		case QAM_PEEK_CLAIMED:
			return "claimed";
		case QAM_PEEK_BLOCKED:
			return "blocked";
		case QAM_PEEK_UNCOMMITTED:
			return "uncommitted";
		case QAM_PEEK_GONE:
			return "done";
	}
	return NULL;				/* keep compiler quiet */
}

/*
 * put_fault puts a rule that an index breaks into the result.  If there are several
 * indexes, the detail begins with the name of the shard.
 */
static void
put_fault(void *arg, const char *rule, BlockNumber block, int slot,
		  const char *detail)
{
	Check	   *check = arg;
	Datum		values[NCHECK_COLUMNS];
	bool		isnull[NCHECK_COLUMNS] = {0};

	values[0] = CStringGetTextDatum(rule);
	values[1] = Int64GetDatum((int64) block);
	isnull[1] = block == InvalidBlockNumber;
	values[2] = Int32GetDatum(slot);
	isnull[2] = slot < 0;
	if (check->shard != NULL)
		detail = detail == NULL ? psprintf("shard %s", check->shard) :
			psprintf("shard %s: %s", check->shard, detail);
	isnull[3] = detail == NULL;
	values[3] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	tuplestore_putvalues(check->rsinfo->setResult, check->rsinfo->setDesc, values, isnull);
}

static void
put_slot(void *arg, const QamSlotInfo *info)
{
	Inspection *inspection = arg;
	Datum		values[NSLOT_COLUMNS];
	bool		isnull[NSLOT_COLUMNS] = {0};
	ItemPointerData tid = info->tid;

	values[0] = Int32GetDatum(info->lane);
	values[1] = Int64GetDatum((int64) info->block);
	values[2] = Int32GetDatum(info->slot);
	values[3] = CStringGetTextDatum(info->state);
	values[4] = CStringGetTextDatum(state_name(&inspection->queue, &info->now));
	isnull[5] = info->claim == NULL;
	values[5] = info->claim ? CStringGetTextDatum(info->claim) : (Datum) 0;
	isnull[6] = info->claim == NULL || info->claim_xid == 0;
	values[6] = FullTransactionIdGetDatum(FullTransactionIdFromU64(info->claim_xid));
	values[7] = PointerGetDatum(&tid);
	values[8] = Int32GetDatum(info->attempts);
	isnull[9] = info->ready_at == 0;
	values[9] = TimestampTzGetDatum(info->ready_at);
	values[10] = BoolGetDatum(info->scheduled);
	isnull[11] = info->group == 0;
	values[11] = Int64GetDatum((int64) info->group);
	values[12] = BoolGetDatum(info->blocked);
	values[13] = Int32GetDatum(info->stuck);
	tuplestore_putvalues(inspection->rsinfo->setResult, inspection->rsinfo->setDesc, values, isnull);
}

static void
put_page(void *arg, const QamPageInfo *info)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[NPAGE_COLUMNS];
	bool		isnull[NPAGE_COLUMNS] = {0};

	values[0] = Int64GetDatum((int64) info->block);
	values[1] = CStringGetTextDatum(info->kind);
	values[2] = Int32GetDatum(info->lane);
	isnull[2] = info->lane < 0;
	values[3] = Int64GetDatum((int64) info->seq);
	values[4] = Int64GetDatum((int64) info->next);
	isnull[4] = info->next == InvalidBlockNumber || info->next == 0;
	values[5] = Int32GetDatum(info->slots);
	values[6] = Int32GetDatum(info->done);
	values[7] = Int32GetDatum(info->first_unfinished);
	values[8] = TimestampTzGetDatum(info->earliest);
	isnull[8] = info->earliest == 0;
	values[9] = FullTransactionIdGetDatum(FullTransactionIdFromU64(info->owner));
	isnull[9] = info->owner == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}
