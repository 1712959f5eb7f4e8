/*-------------------------------------------------------------------------
 *
 * ledger_probe.c
 *	  Searching for ids in the key of a generation.
 *
 * This does what an index scan would do for one id, but for many ids in ascending
 * order.  A scan would go down from the root for each id, and compare through the
 * operator class.  Here the inner pages of the path are kept as copies, and the search
 * for the next id starts from the lowest of these that covers it.  Ids are compared as
 * bytes, as the collation "C" does.
 *
 * What remains is the latency of memory: the leaf and the row of a random id are in no
 * cache.  So several ids are searched for together, and what each of them needs next
 * is fetched into the cache while the others are worked on: first the beginning of each
 * leaf, then the entries that a search of the leaf begins with, then the rows.  Ids
 * that begin on the same leaf are searched for under one lock.  Only one page is locked
 * at a time.
 *
 * A copy of an inner page may be out of date.  That does no harm, as everywhere in a
 * B-tree (see nbtree's README): pages split to the right, and the high key of a page
 * tells that an id is further to the right.  Deleted pages lead to the right as well,
 * and are not used for anything else while a snapshot is active that was taken before
 * the deletion.  So copies are kept no longer than the statement.
 *
 * Rows are fetched after the leaf is unlocked.  By then VACUUM may have removed a row
 * and another one may be in its place.  So the ids of rows are compared once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "ledger/ledger_probe.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* How much of a leaf is fetched into the cache before it is searched */
#define CACHE_LINE			64
#define PREFETCH_LINES		8
#define PREFETCH_STEPS		3

static Buffer find_leaf(LedgerProbe *probe, const OnceMark *mark, const OnceMark *next,
						Buffer last);
static Buffer go_down(LedgerProbe *probe, BlockNumber block, int level, Buffer last);
static void search_leaf(LedgerProbe *probe, Buffer leaf, OnceMark *const *marks, int begin,
						int end, int *ntids);
static void pin_heap(LedgerProbe *probe, int i);
static void unpin_heap(LedgerProbe *probe);
static void prefetch_search(LedgerProbe *probe, Buffer leaf);
static inline OffsetNumber middle(OffsetNumber low, OffsetNumber high);
static pg_attribute_always_inline void prefetch_entry(Page page, OffsetNumber offset);
static bool covers(LedgerProbe *probe, Page page, const OnceMark *mark);
static Buffer step_right(LedgerProbe *probe, Buffer buffer);
static void keep_page(LedgerProbe *probe, int level, Page page);
static BlockNumber child_for(LedgerProbe *probe, Page page, const OnceMark *mark);
static OffsetNumber first_not_less(LedgerProbe *probe, Page page, const OnceMark *mark);
static int	compare_id(LedgerProbe *probe, Page page, OffsetNumber offset,
					   const OnceMark *mark);
static void note_tids(LedgerProbe *probe, IndexTuple itup, int *ntids);
static bool fetch_row(LedgerProbe *probe, const ItemPointerData *entry, Buffer pinned,
					  Snapshot any, TupleTableSlot *slot);
static bool is_undone(TupleTableSlot *slot);
static bool is_row_of(TupleTableSlot *slot, const OnceMark *mark);

/*
 * once_ledger_probe_begin prepares to search for ids, in ascending order, each once.
 */
void
once_ledger_probe_begin(LedgerProbe *probe, Relation heap, Relation index)
{
	memset(probe, 0, sizeof(LedgerProbe));
	probe->heap = heap;
	probe->index = index;

	/* Each id needs a pin, and no backend may pin many of the buffers */
	probe->ahead = Min(LEDGER_PROBE_AHEAD, Max(1, NBuffers / (8 * MaxBackends)));
	Assert(ActiveSnapshotSet());
}

void
once_ledger_probe_end(LedgerProbe *probe)
{
	int			level;

	unpin_heap(probe);
	for (level = 0; level < LEDGER_PROBE_LEVELS; level++)
		if (probe->pages[level] != NULL)
			pfree(probe->pages[level]);
	if (probe->tids != NULL)
		pfree(probe->tids);
}

/*
 * once_ledger_probe_restart must be called before searching for an id that is not
 * greater than the last one.
 */
void
once_ledger_probe_restart(LedgerProbe *probe)
{
	memset(probe->known, 0, sizeof(probe->known));
}

/*
 * once_ledger_probe searches for the entries of up to probe->ahead ids, so that
 * their rows can be fetched.
 */
void
once_ledger_probe(LedgerProbe *probe, OnceMark *const *marks, int n)
{
	Buffer		leaves[LEDGER_PROBE_AHEAD];
	Buffer		leaf = InvalidBuffer;
	int			ntids = 0;
	int			end;
	int			i;
	int			j;

	Assert(n <= probe->ahead);
	unpin_heap(probe);
	for (i = 0; i < n; i++)
	{
		leaves[i] = find_leaf(probe, marks[i], i + 1 < n ? marks[i + 1] : NULL, leaf);
		if (n > 1 && leaves[i] != leaf)
		{
			char	   *page = (char *) BufferGetPage(leaves[i]);
			int			line;

			/* The header, line pointers, and what is at the end */
			for (line = 0; line < PREFETCH_LINES; line++)
				__builtin_prefetch(page + line * CACHE_LINE);
			__builtin_prefetch(page + BLCKSZ - sizeof(BTPageOpaqueData));
		}
		leaf = leaves[i];
	}

	/* The first leaf is searched at once */
	for (i = 1; i < n; i++)
		if (leaves[i] != leaves[i - 1])
			prefetch_search(probe, leaves[i]);
	for (i = 0; i < n; i = end)
	{
		/* All ids on one leaf together */
		for (end = i + 1; end < n && leaves[end] == leaves[i]; end++)
			;
		search_leaf(probe, leaves[i], marks, i, end, &ntids);
		probe->first[end] = ntids;
		for (j = i; n > 1 && j < end; j++)
			pin_heap(probe, j);
	}
}

/*
 * once_ledger_probe_has tells whether the i-th of the ids that were searched for has
 * entries.
 */
bool
once_ledger_probe_has(const LedgerProbe *probe, int i)
{
	return probe->first[i + 1] > probe->first[i];
}

/*
 * once_ledger_probe_fetch fetches the row of the i-th of the ids that were searched
 * for into a slot.  Returns false if "any", a dirty snapshot, sees no row of that id.
 *
 * settled: a row that another open transaction has inserted does not count.
 *
 * skip_undone: a row that an open transaction has both inserted and deleted does not
 * count, although the snapshot sees it.
 */
bool
once_ledger_probe_fetch(LedgerProbe *probe, int i, const OnceMark *mark, Snapshot any,
						bool settled, bool skip_undone, TupleTableSlot *slot)
{
	Buffer		pinned = i < probe->nheap ? probe->heap_pages[i] : InvalidBuffer;
	bool		found = false;
	int			t;

	for (t = probe->first[i]; t < probe->first[i + 1] && !found; t++)
	{
		found = fetch_row(probe, &probe->tids[t], pinned, any, slot) &&
			!(TransactionIdIsValid(any->xmin) && (settled || (skip_undone && is_undone(slot)))) &&
			is_row_of(slot, mark);
		pinned = InvalidBuffer;
	}
	return found;
}

/*
 * Fetch the row that an entry points to, or a newer version of it on the same page,
 * if a snapshot sees it.  If the caller has not pinned the page, it is pruned if that
 * is due, as an index scan would do.  Otherwise only VACUUM would remove the versions
 * that set_result replaces.
 */
static bool
fetch_row(LedgerProbe *probe, const ItemPointerData *entry, Buffer pinned, Snapshot any,
		  TupleTableSlot *slot)
{
	BufferHeapTupleTableSlot *row = (BufferHeapTupleTableSlot *) slot;
	ItemPointerData tid = *entry;
	Buffer		buffer = pinned;
	bool		found;

	if (!BufferIsValid(buffer))
	{
		buffer = ReadBuffer(probe->heap, ItemPointerGetBlockNumber(&tid));
		once_prune_page(probe->heap, buffer);
	}
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&tid, probe->heap, buffer, any, &row->base.tupdata, NULL, true);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (found)
		ExecStoreBufferHeapTuple(&row->base.tupdata, slot, buffer);
	if (!BufferIsValid(pinned))
		ReleaseBuffer(buffer);
	return found;
}

/*
 * Note the rows that the entries of the ids marks[begin] to marks[end - 1] point to.
 * These entries begin on a leaf that the caller has pinned, or to the right of it.  The
 * leaf is unpinned here.  If it is InvalidBuffer, the index is empty.
 */
static void
search_leaf(LedgerProbe *probe, Buffer leaf, OnceMark *const *marks, int begin, int end,
			int *ntids)
{
	int			i;

	if (BufferIsValid(leaf))
	{
		once_debug_point("ledger_before_leaf");
		_bt_lockbuf(probe->index, leaf, BT_READ);
		_bt_checkpage(probe->index, leaf);
	}
	for (i = begin; i < end; i++)
	{
		bool		more = BufferIsValid(leaf);

		probe->first[i] = *ntids;
		while (more && !covers(probe, BufferGetPage(leaf), marks[i]))
			leaf = step_right(probe, leaf);
		while (more)
		{
			Page		page = BufferGetPage(leaf);
			OffsetNumber last = PageGetMaxOffsetNumber(page);
			OffsetNumber offset;

			for (offset = first_not_less(probe, page, marks[i]); offset <= last; offset++)
			{
				ItemId		item = PageGetItemId(page, offset);

				if (compare_id(probe, page, offset, marks[i]) != 0)
					break;
				if (!ItemIdIsDead(item))
					note_tids(probe, (IndexTuple) PageGetItem(page, item), ntids);
			}

			/* There may be more entries of this id on the next page */
			more = offset > last && !P_RIGHTMOST(BTPageGetOpaque(page)) &&
				compare_id(probe, page, P_HIKEY, marks[i]) == 0;
			if (more)
				leaf = step_right(probe, leaf);
		}
	}
	if (BufferIsValid(leaf))
		_bt_relbuf(probe->index, leaf);
}

/*
 * Find the leaf on which the entries of an id begin or would begin, or a leaf to the
 * left of it.  The leaf is returned pinned.  If it is "last", the leaf that was found
 * for the id before, it is not pinned once more.  InvalidBuffer: the index is empty.
 *
 * Copies of inner pages are kept if they cover the next id as well.
 */
static Buffer
find_leaf(LedgerProbe *probe, const OnceMark *mark, const OnceMark *next, Buffer last)
{
	BlockNumber block = InvalidBlockNumber;
	Buffer		buffer;
	int			level;

	for (level = 1; level < LEDGER_PROBE_LEVELS && block == InvalidBlockNumber; level++)
	{
		if (!probe->known[level])
			continue;
		if (covers(probe, probe->pages[level], mark))
			block = child_for(probe, probe->pages[level], mark);
		else
			probe->known[level] = false;
	}
	level -= 2;					/* the level of the block */
	if (block != InvalidBlockNumber)
		buffer = go_down(probe, block, level, last);
	else
	{
		buffer = once_bt_getroot(probe->index, probe->heap, BT_READ);
		if (!BufferIsValid(buffer))
			return InvalidBuffer;
		level = BTPageGetOpaque(BufferGetPage(buffer))->btpo_level;
		if (level == 0)
		{
			_bt_unlockbuf(probe->index, buffer);
			if (buffer == last)
				ReleaseBuffer(buffer);
		}
	}

	/* At this point an inner page is locked, and a leaf is only pinned */
	while (level > 0)
	{
		Page		page;

		while (!covers(probe, BufferGetPage(buffer), mark))
			buffer = step_right(probe, buffer);
		page = BufferGetPage(buffer);
		block = child_for(probe, page, mark);
		if (next != NULL && level < LEDGER_PROBE_LEVELS && covers(probe, page, next))
			keep_page(probe, level, page);
		_bt_relbuf(probe->index, buffer);
		buffer = go_down(probe, block, --level, last);
	}
	return buffer;
}

/*
 * Pin a page, and lock it if it is an inner one.  If it is "last", the leaf that was
 * found for the id before, it is pinned already.
 */
static Buffer
go_down(LedgerProbe *probe, BlockNumber block, int level, Buffer last)
{
	Buffer		buffer;

	if (level == 0 && BufferIsValid(last) && BufferGetBlockNumber(last) == block)
		return last;
	buffer = ReadBuffer(probe->index, block);
	if (level > 0)
	{
		_bt_lockbuf(probe->index, buffer, BT_READ);
		_bt_checkpage(probe->index, buffer);
	}
	return buffer;
}

/*
 * Pin the page of the first row that the entries of an id point to (mostly there is
 * only one), and fetch the page header and the row's line pointer into the cache.
 */
static void
pin_heap(LedgerProbe *probe, int i)
{
	const ItemPointerData *tid = &probe->tids[probe->first[i]];
	Buffer		buffer = InvalidBuffer;

	if (once_ledger_probe_has(probe, i))
	{
		Page		page;

		buffer = ReadBuffer(probe->heap, ItemPointerGetBlockNumber(tid));
		page = BufferGetPage(buffer);
		__builtin_prefetch(page);
		__builtin_prefetch(PageGetItemId(page, ItemPointerGetOffsetNumber(tid)));
	}
	probe->heap_pages[probe->nheap++] = buffer;
}

static void
unpin_heap(LedgerProbe *probe)
{
	while (probe->nheap > 0)
	{
		probe->nheap--;
		if (BufferIsValid(probe->heap_pages[probe->nheap]))
			ReleaseBuffer(probe->heap_pages[probe->nheap]);
	}
}

/*
 * Fetch into the cache what a search of a leaf begins with: its high key, and the
 * entries that its first steps can come to.
 */
static void
prefetch_search(LedgerProbe *probe, Buffer leaf)
{
	Page		page = BufferGetPage(leaf);
	BTPageOpaque opaque = BTPageGetOpaque(page);
	int			node;

	_bt_lockbuf(probe->index, leaf, BT_READ);
	_bt_checkpage(probe->index, leaf);
	if (!P_IGNORE(opaque) && !P_RIGHTMOST(opaque))
		prefetch_entry(page, P_HIKEY);

	/*
	 * The first steps of a binary search form a tree.  Its nodes are numbered
	 * as in a binary heap: each bit of a number after the first one is a
	 * step, 1 to the right and 0 to the left.
	 */
	for (node = 1; !P_IGNORE(opaque) && node < (1 << PREFETCH_STEPS); node++)
	{
		OffsetNumber low = P_FIRSTDATAKEY(opaque);
		OffsetNumber high = PageGetMaxOffsetNumber(page) + 1;
		int			bit;

		for (bit = pg_leftmost_one_pos32(node) - 1; bit >= 0 && low < high; bit--)
		{
			if (node & (1 << bit))
				low = middle(low, high) + 1;
			else
				high = middle(low, high);
		}
		if (low < high)
			prefetch_entry(page, middle(low, high));
	}
	_bt_unlockbuf(probe->index, leaf);
}

static inline OffsetNumber
middle(OffsetNumber low, OffsetNumber high)
{
	return low + (high - low) / 2;
}

/*
 * This must always be inlined.  GCC assumes that a function which only prefetches has
 * no effect, and leaves out calls of it.
 */
static pg_attribute_always_inline void
prefetch_entry(Page page, OffsetNumber offset)
{
	__builtin_prefetch(PageGetItem(page, PageGetItemId(page, offset)));
}

/*
 * Do the entries of an id begin on this page?  The caller knows that they begin here
 * or further to the right.
 */
static bool
covers(LedgerProbe *probe, Page page, const OnceMark *mark)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);

	if (P_IGNORE(opaque))
		return false;
	return P_RIGHTMOST(opaque) || compare_id(probe, page, P_HIKEY, mark) <= 0;
}

/*
 * Unlock and unpin a page, and return the next one on the right that is not deleted,
 * pinned and share-locked.  A page may have been deleted since the link to it was read.
 */
static Buffer
step_right(LedgerProbe *probe, Buffer buffer)
{
	BTPageOpaque opaque = BTPageGetOpaque(BufferGetPage(buffer));

	do
	{
		BlockNumber next = opaque->btpo_next;

		if (P_RIGHTMOST(opaque))
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" ends at a deleted page",
							RelationGetRelationName(probe->index)),
					 errhint("REINDEX restores it from its table.")));
		_bt_relbuf(probe->index, buffer);
		once_debug_point("ledger_before_right");
		buffer = ReadBuffer(probe->index, next);
		_bt_lockbuf(probe->index, buffer, BT_READ);
		_bt_checkpage(probe->index, buffer);
		opaque = BTPageGetOpaque(BufferGetPage(buffer));
	} while (P_IGNORE(opaque));
	return buffer;
}

static void
keep_page(LedgerProbe *probe, int level, Page page)
{
	if (probe->pages[level] == NULL)
		probe->pages[level] = palloc(BLCKSZ);
	memcpy(probe->pages[level], page, BLCKSZ);
	probe->known[level] = true;
}

/*
 * Return the child of an inner page to which a search for an id goes down: that of the
 * last entry that is less than the id.  The first entry counts as less than any id.
 */
static BlockNumber
child_for(LedgerProbe *probe, Page page, const OnceMark *mark)
{
	OffsetNumber low = P_FIRSTDATAKEY(BTPageGetOpaque(page));
	OffsetNumber high = PageGetMaxOffsetNumber(page) + 1;

	while (high - low > 1)
	{
		OffsetNumber mid = middle(low, high);

		if (compare_id(probe, page, mid, mark) > 0)
			low = mid;
		else
			high = mid;
	}
	return BTreeTupleGetDownLink((IndexTuple) PageGetItem(page, PageGetItemId(page, low)));
}

/*
 * Return the offset of the first entry on a leaf that is not less than an id, or one
 * more than the last offset if all are less.
 */
static OffsetNumber
first_not_less(LedgerProbe *probe, Page page, const OnceMark *mark)
{
	OffsetNumber low = P_FIRSTDATAKEY(BTPageGetOpaque(page));
	OffsetNumber high = PageGetMaxOffsetNumber(page) + 1;

	while (low < high)
	{
		OffsetNumber mid = middle(low, high);

		/* One of these two comes next */
		if (high - low > 2)
		{
			prefetch_entry(page, middle(low, mid));
			prefetch_entry(page, middle(mid + 1, high));
		}
		if (compare_id(probe, page, mid, mark) > 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * Compare an id with an entry, as _bt_compare does in a search for the first entry
 * of a key: an attribute that was truncated from an entry of an inner page, or from a
 * high key, is less than any value.
 */
static int
compare_id(LedgerProbe *probe, Page page, OffsetNumber offset, const OnceMark *mark)
{
	IndexTuple	itup = (IndexTuple) PageGetItem(page, PageGetItemId(page, offset));
	bool		isnull;
	Datum		value;
	text	   *key;
	const char *id;
	int			length;
	int			cmp;

	if (BTreeTupleIsPivot(itup) && BTreeTupleGetNAtts(itup, probe->index) == 0)
		return 1;
	value = index_getattr(itup, 1, RelationGetDescr(probe->index), &isnull);

	/*
	 * An entry of a dead row, from a time when the column could be null.
	 * Nulls come last.
	 */
	if (isnull)
		return -1;

	/* Most ids have a short header, and need no call */
	key = (text *) DatumGetPointer(value);
	if (!VARATT_IS_1B(key) || VARATT_IS_1B_E(key))
		key = DatumGetTextPP(value);
	id = VARDATA_ANY(key);
	length = VARSIZE_ANY_EXHDR(key);

	/* Mostly the first bytes decide */
	if (length >= sizeof(uint64) && mark->length >= sizeof(uint64))
	{
		uint64		order;

		memcpy(&order, id, sizeof(uint64));
		order = pg_ntoh64(order);
		cmp = (mark->order > order) - (mark->order < order);
	}
	else
		cmp = 0;
	if (cmp == 0)
		cmp = memcmp(mark->id, id, Min(mark->length, length));
	if (cmp == 0)
		cmp = mark->length - length;
	if ((Pointer) key != DatumGetPointer(value))
		pfree(key);
	if (cmp == 0 && BTreeTupleIsPivot(itup) && BTreeTupleGetHeapTID(itup) == NULL)
		return 1;
	return cmp;
}

/*
 * Note the rows that an entry of a leaf points to.
 */
static void
note_tids(LedgerProbe *probe, IndexTuple itup, int *ntids)
{
	int			n = BTreeTupleIsPosting(itup) ? BTreeTupleGetNPosting(itup) : 1;
	int			i;

	if (*ntids + n > probe->maxtids)
	{
		probe->maxtids = Max(64, 2 * (*ntids + n));
		probe->tids = probe->tids == NULL ?
			palloc(sizeof(ItemPointerData) * probe->maxtids) :
			repalloc(probe->tids, sizeof(ItemPointerData) * probe->maxtids);
	}
	for (i = 0; i < n; i++)
		probe->tids[(*ntids)++] = BTreeTupleIsPosting(itup) ?
			*BTreeTupleGetPostingN(itup, i) : itup->t_tid;
}

/*
 * Has a row been deleted by the same (sub)transaction that has inserted it?  Then
 * nobody else will ever see it.  A row that was updated does not count as deleted: it
 * exists in another version, which may have no entry yet.
 */
static bool
is_undone(TupleTableSlot *slot)
{
	HeapTuple	tuple = ((HeapTupleTableSlot *) slot)->tuple;
	HeapTupleHeader header = tuple->t_data;
	Buffer		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
	bool		undone;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	undone = !(header->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		HeapTupleHeaderGetRawXmin(header) == HeapTupleHeaderGetRawXmax(header) &&
		ItemPointerEquals(&header->t_ctid, &tuple->t_self);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return undone;
}

/*
 * Does a row have this id?  Another row may have taken its place since the entry was
 * read.
 */
static bool
is_row_of(TupleTableSlot *slot, const OnceMark *mark)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, Anum_generation_id, &isnull);
	text	   *id;
	bool		same;

	if (isnull)
		return false;
	id = DatumGetTextPP(value);
	same = VARSIZE_ANY_EXHDR(id) == mark->length &&
		memcmp(VARDATA_ANY(id), mark->id, mark->length) == 0;
	if ((Pointer) id != DatumGetPointer(value))
		pfree(id);
	return same;
}
