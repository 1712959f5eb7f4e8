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

/* At most this many ids are dealt with before the gate is left */
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
	bool		entries;		/* the key has entries of it, dead or alive */
	int			g;				/* in which generation, unless SEARCH_NONE */
	Holder		holder;			/* if SEARCH_WAIT */
	Datum		value;			/* if SEARCH_FOUND, and asked for */
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
 * once_ledger_mark marks those ids that are not marked yet, in the caller's
 * transaction, and sets is_new of these.  It waits for open transactions that have
 * marked one of them.
 *
 * want_values: marks that are not new get the value that is kept with the id,
 * allocated in the caller's memory context.  An id that is given twice is new once,
 * the first time.
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
 * compare_marks sorts ids by their bytes, and equal ones in the order given.
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
 * mark_in_order marks ids, in their order.  Values are allocated in "context"; if
 * that is NULL, they are not returned.
 *
 * Ids are marked some at a time, with a shared gate.  When one of them is marked by
 * an open transaction, or when another backend has just put one into the key, that
 * one is tried once more alone, with the gate held exclusively.  Only then it is
 * decided which transaction to wait for.  (Where changes are decoded logically, the
 * gate is always held exclusively.)
 */
static void
mark_in_order(LedgerView *view, OnceMark **marks, int nmarks, MemoryContext context)
{
	const OnceLedger *ledger = view->ledger;
	int			chunk = Min(nmarks, MARK_CHUNK);
	Search	   *searches = palloc(sizeof(Search) * chunk);
	OnceMark  **new = palloc(sizeof(OnceMark *) * chunk);
	int			done = 0;
	int			most = chunk;	/* how many at a time */
	bool		decide = false; /* only the next id, holding the gate alone */
	bool		lost = false;	/* another backend has put the next id into
								 * this generation's key */
	int			i;

	while (done < nmarks)
	{
		bool		alone = decide || view->decoded;
		LOCKMODE	mode = alone ? ExclusiveLock : ShareLock;
		int			last = Min(decide ? 1 : most, nmarks - done);
		int			n = 0;		/* searched for */
		int			good = 0;	/* of these, need not be waited for */
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

		/* If another backend was first with an id, begin again with that id */
		for (i = 0; i < good && !(inserted < nnew && marks[done + i] == new[inserted]); i++)
			if (searches[i].result == SEARCH_FOUND && context != NULL)
				return_value(view, marks[done + i], &searches[i], context);
		done += i;
		lost = inserted < nnew;
		most = lost ? 1 : Min(2 * most, chunk);
		if (wait && alone && !lost)
		{
			Holder		holder = searches[good].holder;

			/* Do not make others wait for us longer than necessary */
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
 * insert_marks inserts ids that are in neither generation into the current one, in
 * their order.  The caller is in the gate.
 *
 * Returns how many were inserted.  If not all were, another backend has put the next
 * one into the key since it was searched for.  The rows of that id and of those after
 * it have been deleted again.
 *
 * lost: there is only one id, this has happened to it before, and the caller now
 * holds the gate exclusively.  Then it is inserted in any case.
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

		/* A copy, so that the slots need not count references to the table's */
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
 * index_rows inserts the entries of new rows into the indexes of a generation.  It
 * stops at a row whose id another row seems to have in an index already, and returns
 * the number of rows before that one.
 *
 * lost: the caller knows that such another row does not count.  Do not stop there.
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
		if (once_delete_row(heap, &tids[i], true, &failure) != TM_Ok)
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
 * search_ids searches for some of n ids in the generations that count.  Returns how
 * many it has searched for, at least one.  The values of those that are found are
 * copied into "context".  If that is NULL, there must be only one id; its row, if
 * found, is in its generation's slot.
 *
 * The current generation is searched first, because most repetitions come soon.
 *
 * A transaction that stores a result, or forgets an id and marks it again, may put
 * a new row in place of one whose entry we have read, and commit before we fetch
 * that row.  Then we see neither.  But as that transaction has ended by now, a second
 * search sees the new row.  So an id that has entries, but no row that counts, is
 * searched for again.  New ids seldom have entries.
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
 * search_in searches for ids in one generation.  The result of marks[i] goes to
 * searches[where[i]].
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
 * copy_value copies the value that is kept with an id that was found, as it is
 * stored in the row.
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
 * return_value gives a mark the value that was found, detoasted.  It must not be
 * called in the gate, because somebody may have locked the TOAST table.
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
 * committed or by this one.  Waits for no transaction.
 *
 * marked_at: if not NULL, it is set to the time of the marking, and the mark gets the
 * value, detoasted.
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

		/* An id that an open transaction has forgotten is still marked */
		*marked_at = DatumGetTimestampTz(slot_getattr(view.gen[found.g].slot,
													  Anum_generation_processed_at, &isnull));
		copy_value(&view, &found, CurrentMemoryContext);
		return_value(&view, mark, &found, CurrentMemoryContext);
	}
	once_ledger_view_close(&view);
	return found.result != SEARCH_NONE;
}

/*
 * once_ledger_forget deletes an id, in the caller's transaction.  Returns false if
 * it was not marked.  Waits for an open transaction that has marked or forgotten it.
 *
 * This needs no gate: a search sees the row until our transaction has ended, and
 * waits for that.
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
			/* Once more, with a stronger lock; the weak one is released first */
			old_lockmode = RowExclusiveLock;
		}
		else if (found.result == SEARCH_FOUND)
		{
			Relation	heap = view.gen[found.g].heap;

			CheckCmdReplicaIdentity(heap, CMD_DELETE);
			deleted = once_delete_row(heap, &view.gen[found.g].slot->tts_tid, true,
									  &failure) == TM_Ok;
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
 * marked.  Returns false if it has not.
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
