/*-------------------------------------------------------------------------
 *
 * ledger_mark.c
 *	  Marking ids, and searching for them.  See README for why it is safe.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "ledger/ledger_open.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "once_debug.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* At most so many ids are dealt with in the gate before it is left */
#define MARK_CHUNK			256

/* What a search for an id has found */
typedef enum SearchResult
{
	SEARCH_NONE,
	SEARCH_FOUND,
	SEARCH_WAIT					/* an open transaction inserts or deletes it */
} SearchResult;

/* An open transaction to be waited for */
typedef struct Holder
{
	TransactionId xid;
	uint32		token;			/* of a speculative insertion, or 0 */
} Holder;

/* The search for one id */
typedef struct Search
{
	SearchResult result;
	bool		entries;		/* there are entries of it, of whatever rows */
	int			g;				/* the generation, if found or to be waited
								 * for */
	Holder		holder;
	Datum		value;			/* if found, and asked for */
	bool		value_null;
} Search;

static int	compare_marks(const void *a, const void *b);
static bool same_id(const OnceMark *a, const OnceMark *b);
static void mark_in_order(LedgerView *view, OnceMark **marks, int nmarks,
						  MemoryContext context);
static int	insert_marks(LedgerView *view, OnceMark *const *marks, int nmarks, bool lost);
static int	index_rows(LedgerView *view, int g, Datum *ids, ItemPointerData *tids, int n,
					   bool lost);
static void delete_rows(Relation heap, ItemPointerData *tids, int n);
static HeapTuple form_generation(Relation heap, const OnceMark *mark, TimestampTz now,
								 Datum *id);
static int	search_ids(LedgerView *view, OnceMark *const *marks, int n, Search *searches,
					   MemoryContext context);
static void search_in(LedgerView *view, int g, OnceMark *const *marks, const int *where,
					  int n, Search *searches, MemoryContext context);
static void wait_for(const Holder *holder);
static void copy_value(LedgerView *view, Search *found, MemoryContext context);
static void return_value(LedgerView *view, OnceMark *mark, const Search *found,
						 MemoryContext context);

/*
 * once_ledger_check_id sets a mark's id from a text that is not null, or raises
 * an error that names the argument.
 */
void
once_ledger_check_id(Datum id, const char *argument, OnceMark *mark)
{
	text	   *value = DatumGetTextPP(id);
	Size		length = VARSIZE_ANY_EXHDR(value);
	int			i;

	if (length < 1 || length > ONCE_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d bytes long", argument, ONCE_MAX_ID),
				 errdetail("The value given is %zu bytes long.", length)));
	mark->id = VARDATA_ANY(value);
	mark->length = (int) length;
	mark->order = 0;
	for (i = 0; i < sizeof(mark->order); i++)
		mark->order = (mark->order << 8) | (i < mark->length ? (unsigned char) mark->id[i] : 0);
	mark->same = NULL;
	mark->is_new = false;
}

/*
 * once_ledger_mark marks ids that are not marked yet, in the caller's transaction,
 * and tells which ones these were.  Waits for open transactions that have marked
 * one of them.
 *
 * want_values: marks that are not new get the value of the first, allocated in the
 * caller's context.  An id that is there twice is new once, the first time.
 */
void
once_ledger_mark(const OnceLedger *ledger, OnceMark *marks, int nmarks, bool want_values)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	LedgerView	view;
	OnceMark  **order;
	int			n = 0;
	int			i;

	if (nmarks == 0)
		return;
	context = AllocSetContextCreate(caller, "pg_once marking", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	order = palloc_extended(sizeof(OnceMark *) * nmarks, MCXT_ALLOC_HUGE);
	for (i = 0; i < nmarks; i++)
		order[i] = &marks[i];
	if (nmarks > 1)
		qsort(order, nmarks, sizeof(OnceMark *), compare_marks);
	for (i = 0; i < nmarks; i++)
	{
		if (n > 0 && same_id(order[n - 1], order[i]))
			order[i]->same = order[n - 1];
		else
			order[n++] = order[i];
	}

	once_ledger_view_open(&view, ledger, RowExclusiveLock, AccessShareLock);
	mark_in_order(&view, order, n, want_values ? caller : NULL);
	once_ledger_view_close(&view);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);

	for (i = 0; i < nmarks; i++)
	{
		if (marks[i].same == NULL)
			continue;
		marks[i].is_new = false;
		if (want_values)
		{
			marks[i].value = marks[i].same->value;
			marks[i].value_null = marks[i].same->value_null;
		}
	}
}

/*
 * By bytes, then in the order given.
 */
static int
compare_marks(const void *a, const void *b)
{
	const OnceMark *x = *(OnceMark *const *) a;
	const OnceMark *y = *(OnceMark *const *) b;
	int			cmp;

	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	cmp = memcmp(x->id, y->id, Min(x->length, y->length));
	if (cmp != 0)
		return cmp;
	if (x->length != y->length)
		return x->length - y->length;
	return x < y ? -1 : x > y;
}

static bool
same_id(const OnceMark *a, const OnceMark *b)
{
	return a->length == b->length && memcmp(a->id, b->id, a->length) == 0;
}

/*
 * mark_in_order marks ids, in their order.  Values go into a context, or nowhere
 * if that is NULL.
 *
 * What is not plain is decided alone in the gate, one id at a time: whom to wait
 * for, and what to do about an id that somebody else has just put into the key.
 */
static void
mark_in_order(LedgerView *view, OnceMark **marks, int nmarks, MemoryContext context)
{
	const OnceLedger *ledger = view->ledger;
	int			chunk = Min(nmarks, MARK_CHUNK);
	Search	   *searches = palloc(sizeof(Search) * chunk);
	OnceMark  **new = palloc(sizeof(OnceMark *) * chunk);
	int			done = 0;
	int			most = chunk;	/* so many at a time */
	bool		decide = false;
	bool		lost = false;	/* the next id, in this generation */
	int			i;

	while (done < nmarks)
	{
		bool		alone = decide || view->decoded;
		LOCKMODE	mode = alone ? ExclusiveLock : ShareLock;
		int			last = Min(decide ? 1 : most, nmarks - done);
		int			n = 0;		/* searched for */
		int			good = 0;	/* and not to be waited for */
		int			nnew = 0;
		int			inserted;
		bool		wait = false;

		once_debug_point("ledger_before_gate");
		(void) once_ledger_lock(ledger, LEDGER_GATE, mode, true);
		if (!once_ledger_state_is(view->sequence, &view->state))
		{
			once_ledger_unlock(ledger, LEDGER_GATE, mode);
			once_ledger_view_close(view);
			once_ledger_view_open(view, ledger, RowExclusiveLock, AccessShareLock);
			lost = false;
			continue;
		}

		for (i = 0; i < 2; i++)
			if (view->gen[i].heap != NULL)
				once_ledger_probe_restart(&view->gen[i].probe);
		while (!wait && good < last)
		{
			n += search_ids(view, &marks[done + good], Min(last - good, LEDGER_PROBE_AHEAD),
							&searches[good], context);
			while (good < n && !(wait = searches[good].result == SEARCH_WAIT))
			{
				if (searches[good].result == SEARCH_NONE)
					new[nnew++] = marks[done + good];
				good++;
			}
		}
		once_debug_point("ledger_before_insert");
		inserted = insert_marks(view, new, nnew, lost);
		once_ledger_unlock(ledger, LEDGER_GATE, mode);

		/*
		 * What is behind an id that somebody else was faster with is as
		 * nothing
		 */
		for (i = 0; i < good && !(inserted < nnew && marks[done + i] == new[inserted]); i++)
			if (searches[i].result == SEARCH_FOUND && context != NULL)
				return_value(view, marks[done + i], &searches[i], context);
		done += i;
		lost = inserted < nnew;
		most = lost ? 1 : Min(2 * most, chunk);
		if (wait && alone && !lost)
		{
			Holder		holder = searches[good].holder;

			/* Nobody is to wait for who waits: nothing is locked meanwhile */
			once_ledger_view_close(view);
			wait_for(&holder);
			once_ledger_view_open(view, ledger, RowExclusiveLock, AccessShareLock);
			decide = false;
		}
		else
			decide = wait || lost;
		CHECK_FOR_INTERRUPTS();
	}
	pfree(searches);
	pfree(new);
}

/*
 * insert_marks puts ids into the current generation that are in neither, in their
 * order.  The caller is in the gate.  lost: he is alone there, and has lost the only
 * one of them before.
 *
 * Returns how many of them.  If that is less than all, somebody else has put the
 * next one into the key since it was searched for.  Then it and what follows is as
 * if it had never been.
 */
static int
insert_marks(LedgerView *view, OnceMark *const *marks, int nmarks, bool lost)
{
	Relation	heap = view->gen[view->state.current].heap;
	CommandId	cid;
	TimestampTz now;
	Datum	   *ids;
	ItemPointerData *tids;
	int			inserted;
	int			i;

	if (nmarks == 0)
		return 0;
	cid = GetCurrentCommandId(true);
	now = GetCurrentTimestamp();
	ids = palloc(sizeof(Datum) * nmarks);
	tids = palloc(sizeof(ItemPointerData) * nmarks);
	if (nmarks == 1)
	{
		HeapTuple	tuple = form_generation(heap, marks[0], now, &ids[0]);

		heap_insert(heap, tuple, cid, 0, NULL);
		tids[0] = tuple->t_self;
		heap_freetuple(tuple);
	}
	else
	{
		TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * nmarks);

		/* A copy: each slot's reference to the table's own would be counted */
		TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(heap));

		for (i = 0; i < nmarks; i++)
		{
			slots[i] = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
			ExecStoreHeapTuple(form_generation(heap, marks[i], now, &ids[i]), slots[i], true);
		}
		heap_multi_insert(heap, slots, nmarks, cid, 0, NULL);
		for (i = 0; i < nmarks; i++)
		{
			tids[i] = slots[i]->tts_tid;
			ExecDropSingleTupleTableSlot(slots[i]);
		}
		pfree(slots);
		FreeTupleDesc(desc);
	}
	inserted = index_rows(view, view->state.current, ids, tids, nmarks, lost);
	for (i = 0; i < nmarks; i++)
	{
		marks[i]->is_new = i < inserted;
		pfree(DatumGetPointer(ids[i]));
	}
	if (inserted < nmarks)
		delete_rows(heap, &tids[inserted], nmarks - inserted);
	pfree(ids);
	pfree(tids);
	return inserted;
}

/*
 * index_rows puts new rows into the indexes of a generation.  Returns how many: of
 * the next one, if there is one, the id is in an index already.
 *
 * lost: that is so anyway, by a row that does not count.
 */
static int
index_rows(LedgerView *view, int g, Datum *ids, ItemPointerData *tids, int n, bool lost)
{
	IndexInfo **info = palloc(sizeof(IndexInfo *) * view->gen[g].nindexes);
	bool		isnull = false;
	bool		only = true;
	int			x;
	int			i;

	once_debug_point("ledger_before_index");
	for (x = 0; x < view->gen[g].nindexes; x++)
		info[x] = BuildIndexInfo(view->gen[g].index[x]);
	for (i = 0; i < n && only; i++)
	{
		for (x = 0; x < view->gen[g].nindexes && only; x++)
			only = index_insert(view->gen[g].index[x], &ids[i], &isnull, &tids[i],
								view->gen[g].heap, UNIQUE_CHECK_PARTIAL, false,
								info[x]) || lost;
	}
	for (x = 0; x < view->gen[g].nindexes; x++)
		pfree(info[x]);
	pfree(info);
	return only ? n : i - 1;
}

/*
 * delete_rows deletes rows that this command has inserted.
 */
static void
delete_rows(Relation heap, ItemPointerData *tids, int n)
{
	TM_FailureData failure;
	int			i;

	once_debug_point("ledger_before_delete");
	CommandCounterIncrement();
	for (i = 0; i < n; i++)
		if (heap_delete(heap, &tids[i], GetCurrentCommandId(true), InvalidSnapshot, true,
						&failure, false) != TM_Ok)
			elog(ERROR, "could not take back an id");
}

static HeapTuple
form_generation(Relation heap, const OnceMark *mark, TimestampTz now, Datum *id)
{
	Datum		values[Natts_generation];
	bool		isnull[Natts_generation] = {false, false, mark->value_null};

	*id = PointerGetDatum(cstring_to_text_with_len(mark->id, mark->length));
	values[Anum_generation_id - 1] = *id;
	values[Anum_generation_processed_at - 1] = TimestampTzGetDatum(now);
	values[Anum_generation_value - 1] = mark->value;
	return heap_form_tuple(RelationGetDescr(heap), values, isnull);
}

/*
 * search_ids searches for some ids in the generations that count.  Returns how
 * many of them it has searched for, at least one.  Values of those that are found
 * are copied into a context, if there is one; else the row of the only id is in
 * its generation's slot.
 *
 * The current generation comes first: what is repeated is repeated soon, mostly.
 *
 * A transaction that stores a result, or forgets an id and marks it again, may
 * put a new row in place of one whose entry we have read, and commit before we
 * fetch that row; then we would see neither.  But then it has ended, and a second
 * search sees the new row.  Such an id has an entry, which those that are new
 * seldom have.
 */
static int
search_ids(LedgerView *view, OnceMark *const *marks, int n, Search *searches, MemoryContext context)
{
	int			current = view->state.current;
	int			where[LEDGER_PROBE_AHEAD] = {0};
	OnceMark   *left[LEDGER_PROBE_AHEAD];
	int			nleft = 0;
	int			g;
	int			i;

	n = Min(n, view->gen[current].probe.ahead);
	for (i = 0; i < n; i++)
	{
		where[i] = i;
		searches[i].entries = false;
	}
	search_in(view, current, marks, where, n, searches, context);
	if (view->gen[1 - current].heap != NULL)
	{
		for (i = 0; i < n; i++)
		{
			if (searches[i].result == SEARCH_NONE)
			{
				left[nleft] = marks[i];
				where[nleft++] = i;
			}
		}
		search_in(view, 1 - current, left, where, nleft, searches, context);
	}
	for (i = 0; i < n; i++)
	{
		for (g = 0; g < 2 && searches[i].result == SEARCH_NONE && searches[i].entries; g++)
		{
			if (view->gen[g].heap == NULL)
				continue;
			once_ledger_probe_restart(&view->gen[g].probe);
			search_in(view, g, &marks[i], &i, 1, searches, context);
		}
	}
	return n;
}

/*
 * search_in searches for ids in one generation; where: of each, its search.
 */
static void
search_in(LedgerView *view, int g, OnceMark *const *marks, const int *where, int n,
		  Search *searches, MemoryContext context)
{
	LedgerProbe *probe = &view->gen[g].probe;
	SnapshotData *any = &view->gen[g].any;
	int			i;

	if (n == 0)
		return;
	once_ledger_probe(probe, marks, n);
	for (i = 0; i < n; i++)
	{
		Search	   *search = &searches[where[i]];

		search->g = g;
		search->result = SEARCH_NONE;
		if (!once_ledger_probe_has(probe, i))
			continue;
		search->entries = true;
		once_debug_point("ledger_before_fetch");
		if (!once_ledger_probe_fetch(probe, i, marks[i], any, view->settled, !view->decoded,
									 view->gen[g].slot))
			continue;
		search->holder.xid = TransactionIdIsValid(any->xmin) ? any->xmin : any->xmax;
		search->holder.token = any->speculativeToken;
		search->result = TransactionIdIsValid(search->holder.xid) ? SEARCH_WAIT : SEARCH_FOUND;
		if (search->result == SEARCH_FOUND && context != NULL)
			copy_value(view, search, context);
	}
}

static void
wait_for(const Holder *holder)
{
	if (holder->token != 0)
		SpeculativeInsertionWait(holder->xid, holder->token);
	else
		XactLockTableWait(holder->xid, NULL, NULL, XLTW_None);
}

/*
 * copy_value copies the value that is kept with an id that was found, as it is in
 * the row.
 */
static void
copy_value(LedgerView *view, Search *found, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	found->value = slot_getattr(view->gen[found->g].slot, Anum_generation_value,
								&found->value_null);
	if (found->value_null)
		found->value = (Datum) 0;
	else if (view->ledger->kind == ONCE_LEDGER_OWN)
		found->value = datumCopy(found->value, false, -1);
	MemoryContextSwitchTo(old);
}

/*
 * return_value gives a mark the value that was found, whole.  Not in the gate:
 * somebody may have the TOAST table locked.
 */
static void
return_value(LedgerView *view, OnceMark *mark, const Search *found, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	mark->value = found->value;
	mark->value_null = found->value_null;
	if (!mark->value_null && view->ledger->kind == ONCE_LEDGER_OWN)
		mark->value = PointerGetDatum(PG_DETOAST_DATUM(found->value));
	MemoryContextSwitchTo(old);
}

/*
 * once_ledger_search tells whether an id is marked, by a transaction that has
 * committed or by this one.  Waits for nobody.
 *
 * marked_at: if not NULL, it is told when, and the mark gets the value, whole.
 */
bool
once_ledger_search(const OnceLedger *ledger, OnceMark *mark, TimestampTz *marked_at)
{
	LedgerView	view;
	Search		found;

	once_ledger_view_open(&view, ledger, AccessShareLock, AccessShareLock);
	view.settled = true;
	(void) search_ids(&view, &mark, 1, &found, NULL);
	if (found.result != SEARCH_NONE && marked_at != NULL)
	{
		bool		isnull;

		/* Also of one that somebody is forgetting */
		*marked_at = DatumGetTimestampTz(slot_getattr(view.gen[found.g].slot,
													  Anum_generation_processed_at, &isnull));
		copy_value(&view, &found, CurrentMemoryContext);
		return_value(&view, mark, &found, CurrentMemoryContext);
	}
	once_ledger_view_close(&view);
	return found.result != SEARCH_NONE;
}

/*
 * once_ledger_forget deletes an id, in the caller's transaction.  False: it was
 * not marked.  Waits for an open transaction that has marked or forgotten it.
 *
 * This is not done in the gate: a search sees the row as long as it is there, and
 * then waits for us.
 */
bool
once_ledger_forget(const OnceLedger *ledger, OnceMark *mark)
{
	LedgerView	view;
	Search		found;
	LOCKMODE	old_lockmode = AccessShareLock;
	bool		deleted = false;

	CommandCounterIncrement();
	do
	{
		TM_FailureData failure;

		once_ledger_view_open(&view, ledger, RowExclusiveLock, old_lockmode);
		(void) search_ids(&view, &mark, 1, &found, NULL);
		if (found.result == SEARCH_FOUND && view.gen[found.g].lockmode == AccessShareLock)
		{
			/* Once more, with a stronger lock, and nothing locked meanwhile */
			old_lockmode = RowExclusiveLock;
		}
		else if (found.result == SEARCH_FOUND)
		{
			Relation	heap = view.gen[found.g].heap;

			CheckCmdReplicaIdentity(heap, CMD_DELETE);
			deleted = heap_delete(heap, &view.gen[found.g].slot->tts_tid,
								  GetCurrentCommandId(true), InvalidSnapshot, true,
								  &failure, false) == TM_Ok;
		}
		once_ledger_view_close(&view);
		if (found.result == SEARCH_WAIT)
			wait_for(&found.holder);
		CHECK_FOR_INTERRUPTS();
	} while (found.result != SEARCH_NONE && !deleted);
	CommandCounterIncrement();
	return deleted;
}

/*
 * once_ledger_set_value replaces the value of an id that this transaction has
 * marked.  False: it has not.
 */
bool
once_ledger_set_value(const OnceLedger *ledger, OnceMark *mark)
{
	LedgerView	view;
	Search		found;
	bool		done = false;

	CommandCounterIncrement();
	once_ledger_view_open(&view, ledger, AccessShareLock, AccessShareLock);
	(void) search_ids(&view, &mark, 1, &found, NULL);
	if (found.result == SEARCH_FOUND)
	{
		int			g = found.g;
		Relation	heap = view.gen[g].heap;
		HeapTuple	old = ExecFetchSlotHeapTuple(view.gen[g].slot, false, NULL);

		if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(old->t_data)))
		{
			Datum		values[Natts_generation];
			bool		isnull[Natts_generation];
			HeapTuple	new;

			LockRelationOid(RelationGetRelid(heap), RowExclusiveLock);
			heap_deform_tuple(old, RelationGetDescr(heap), values, isnull);
			values[Anum_generation_value - 1] = mark->value;
			isnull[Anum_generation_value - 1] = mark->value_null;
			new = heap_form_tuple(RelationGetDescr(heap), values, isnull);
			CheckCmdReplicaIdentity(heap, CMD_UPDATE);
			once_heap_update(heap, &old->t_self, new);
			if (!HeapTupleIsHeapOnly(new))
				(void) index_rows(&view, g, &values[Anum_generation_id - 1], &new->t_self,
								  1, true);
			heap_freetuple(new);
			done = true;
		}
	}
	once_ledger_view_close(&view);
	CommandCounterIncrement();
	return done;
}
