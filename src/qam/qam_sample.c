/*-------------------------------------------------------------------------
 *
 * qam_sample.c
 *	  How many messages there are, and in what state.  It changes nothing, and
 *	  works on a standby, too.
 *
 * A queue with few pages is read as a whole.  The cost of a longer one must not
 * depend on its length, so it is estimated, as ANALYZE does it: from the pages
 * at the beginning of each lane, where claims are, and from a random sample of
 * the others.  The standard error of each number is computed from how much the
 * sampled pages differ.
 *
 * The sample is taken from the pages in the lists, if they are not too many to
 * be found by following links.  If they are, it is taken from the blocks of the
 * file, of which some are free pages.
 *
 * As in peek, pages are copied under a share lock, and a message is judged by
 * its slot and its row.  So nobody waits for this longer than for a reader of
 * one page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "qam/qam.h"
#include "qam/qam_along.h"
#include "qam/qam_cache.h"
#include "qam/qam_damage.h"
#include "qam/qam_now.h"
#include "qam/qam_xid.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/sampling.h"

/* What is read at most */
typedef struct Bounds
{
	int			whole;			/* pages of a queue that is read as a whole */
	int			linked;			/* pages that are found by following links */
	int			head;			/* pages at the beginning of a lane */
	int			drawn;			/* blocks of the file that are looked at */
	int			sampled;		/* pages of the sample */
} Bounds;

static const Bounds default_bounds = {128, 1024, 4, 256, 64};
static const Bounds small_bounds = {2, 1024, 1, 64, 8}; /* for tests */

/*
 * With fewer pages than that among the blocks drawn, the sample is taken from
 * the pages found by links.
 */
#define FEW_HITS			16

/* Where the sample is taken from */
typedef struct Frame
{
	BlockNumber *blocks;
	int			nblocks;
	double		pages;			/* how many pages these stand for */
	double		variance;		/* of that number */
} Frame;

typedef struct Sampling
{
	QamSample  *sample;
	Bounds		bounds;
	TimestampTz now;
	QamXidCache xids;
	HTAB	   *heads;			/* first messages of groups */
	Buffer		heap_buffer;
	QamCopiedPage *copy;

	BlockNumber *linked;		/* pages in lists, as far as found */
	int			nlinked;
	bool		all;			/* are these all? */
	BlockNumber *read;			/* pages of the beginnings, which were read */
	int			nread;
	int			lane;			/* the lane of the last one, */
	int			nth;			/* and how many of it were read */
	double		counts[QAM_NDEPTHS];	/* of the page at hand */
} Sampling;

/*
 * Collects the pages of the lists.
 */
static QamAlongNext
collect(void *arg, const QamCopiedPage *copy)
{
	Sampling   *s = arg;

	if (s->nlinked == s->bounds.linked)
	{
		s->all = false;
		return QAM_ALONG_STOP;
	}
	s->linked[s->nlinked++] = copy->block;
	return QAM_ALONG_ON;
}

/*
 * Tells the state of a message as one of the depths.  The row's page is pinned.
 */
static QamDepth
depth_of(Sampling *s, QamPeekState state, const QamSlot *slot, const QamRow *row)
{
	QamSample  *sample = s->sample;

	if (QamSlotStuck(slot) > 0 && (state == QAM_PEEK_READY || state == QAM_PEEK_DELAYED))
		return QAM_DEPTH_STUCK;
	switch (state)
	{
		case QAM_PEEK_CLAIMED:
			return QAM_DEPTH_CLAIMED;
		case QAM_PEEK_BLOCKED:
			return QAM_DEPTH_BLOCKED;
		case QAM_PEEK_DELAYED:
			return QAM_DEPTH_DELAYED;
		default:
			if ((sample->retry->max_attempts > 0 &&
				 slot->attempts >= sample->retry->max_attempts) ||
				sample->expired(sample->arg, (HeapTuple) &row->tuple, s->now))
				return QAM_DEPTH_DEAD;
			return QAM_DEPTH_READY;
	}
}

/*
 * Notes a message that is claimed, or as good as that, as its row is locked.
 */
static void
note_claim(Sampling *s, const QamSlot *slot, bool held, const QamRow *row)
{
	QamSample  *sample = s->sample;
	QamClaimSeen claim = {0};

	if (!held)
		claim.xid = TransactionIdIsValid(row->xid) ? qam_full_xid(row->xid) : 0;
	else if (QamSlotState(slot) == QAM_SLOT_CLAIMED &&
			 QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE)
	{
		claim.lease = true;
		claim.time = qam_shown_time(slot->ready_at);
	}
	else
	{
		claim.xid = qam_claim_xid(slot->claim, qam_next_xid());
		if (QamSlotState(slot) == QAM_SLOT_CLAIMED)
		{
			claim.time = qam_shown_time(slot->ready_at);
			sample->oldest_claim = Min(sample->oldest_claim, claim.time);
		}
	}
	if (sample->claimed != NULL)
		sample->claimed(sample->arg, &claim);
}

/*
 * Judges the messages of the copied page, and counts them in s->counts.
 * in_order: the pages come in the order of their list, from its beginning.
 */
static void
judge_page(Sampling *s, bool in_order)
{
	QamSample  *sample = s->sample;
	const QamCopiedPage *copy = s->copy;
	int			i;

	memset(s->counts, 0, sizeof(s->counts));
	for (i = copy->opaque.first_unfinished; i < copy->nslots; i++)
	{
		const QamSlot *slot = &copy->slots[i];
		bool		held;
		QamRow		row;
		bool		unused;
		bool		first;
		QamPeekState state;
		TimestampTz ready_at;
		QamDepth	depth;

		CHECK_FOR_INTERRUPTS();
		if (slot->state == QAM_SLOT_DONE)
			continue;
		qam_require_slot(sample->index, copy->block, i, slot, copy->opaque.kind);
		held = qam_now_claimed(&s->xids, slot, s->now);
		if (QamSlotIsOver(slot) ||
			!qam_judge_copied(sample->heap, sample->index, copy, i, &s->heap_buffer,
							  &row, &unused) ||
			row.state == QAM_ROW_GONE)
			continue;
		first = in_order ? qam_now_note_head(s->heads, copy, i) : !QamSlotIsBlocked(slot);
		state = qam_now_state(copy, i, held, &row, sample->retry, s->now, first, &ready_at);
		if (state == QAM_PEEK_UNCOMMITTED)
			continue;
		depth = depth_of(s, state, slot, &row);
		s->counts[depth]++;
		if (depth == QAM_DEPTH_READY)
			sample->oldest_ready = Min(sample->oldest_ready,
									   sample->since(sample->arg, &row.tuple));
		else if (depth == QAM_DEPTH_CLAIMED)
			note_claim(s, slot, held, &row);
	}
}

/*
 * Reads a page, if it is one that has messages.
 */
static void
read_page(Sampling *s, BlockNumber block, bool in_order)
{
	QamCopiedPage *copy = s->copy;

	qam_copy_page(s->sample->index, block, copy);
	qam_require_copy(s->sample->index, copy);
	if (copy->opaque.kind != QAM_PAGE_LANE && copy->opaque.kind != QAM_PAGE_BUCKET)
		copy->nslots = 0;
	judge_page(s, in_order);
	ReleaseBuffer(copy->buffer);
}

/*
 * Adds what was counted on one page to the result.
 */
static void
add_counts(Sampling *s)
{
	int			d;

	for (d = 0; d < QAM_NDEPTHS; d++)
		s->sample->depth[d] += s->counts[d];
}

/*
 * Reads the first pages of each lane, which is where claims are.
 */
static QamAlongNext
read_head(void *arg, const QamCopiedPage *copy)
{
	Sampling   *s = arg;

	if (copy->opaque.kind == QAM_PAGE_BUCKET)
		return QAM_ALONG_STOP;
	if (copy->opaque.lane != s->lane)
	{
		s->lane = copy->opaque.lane;
		s->nth = 0;
	}
	judge_page(s, true);
	add_counts(s);
	s->read[s->nread++] = copy->block;
	return ++s->nth < s->bounds.head ? QAM_ALONG_ON : QAM_ALONG_NEXT_LIST;
}

static bool
was_read(const Sampling *s, BlockNumber block)
{
	int			i;

	for (i = 0; i < s->nread; i++)
	{
		if (s->read[i] == block)
			return true;
	}
	return false;
}

/*
 * Makes a frame of the pages that were found by links.
 */
static void
frame_linked(Sampling *s, Frame *frame)
{
	int			i;

	frame->blocks = s->linked;
	frame->nblocks = 0;
	for (i = 0; i < s->nlinked; i++)
	{
		if (!was_read(s, s->linked[i]))
			frame->blocks[frame->nblocks++] = s->linked[i];
	}
	frame->pages = frame->nblocks;
	frame->variance = 0;
}

/*
 * Makes a frame of blocks of the file that are drawn at random, those of them
 * that are pages of lanes and of the schedule.  How many of these the file has
 * is estimated from that.
 */
static void
frame_file(Sampling *s, Frame *frame)
{
	Relation	index = s->sample->index;
	BlockNumber nblocks = s->sample->pages - 1; /* without the metapage */
	double		unread = nblocks - s->nread;
	BlockSamplerData drawer;
	double		share;
	int			ndrawn = 0;
	int			i;

	BlockSampler_Init(&drawer, nblocks, s->bounds.drawn,
					  pg_prng_uint32(&pg_global_prng_state));
	frame->blocks = palloc(sizeof(BlockNumber) * s->bounds.drawn);
	while (BlockSampler_HasMore(&drawer))
	{
		BlockNumber block = 1 + BlockSampler_Next(&drawer);

		if (was_read(s, block))
			continue;
		frame->blocks[ndrawn++] = block;
		PrefetchBuffer(index, MAIN_FORKNUM, block);
	}
	frame->nblocks = 0;
	for (i = 0; i < ndrawn; i++)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_special(index, frame->blocks[i], s->copy);
		ReleaseBuffer(s->copy->buffer);
		if (s->copy->opaque.kind == QAM_PAGE_LANE || s->copy->opaque.kind == QAM_PAGE_BUCKET)
			frame->blocks[frame->nblocks++] = frame->blocks[i];
	}
	share = ndrawn == 0 ? 0 : frame->nblocks / (double) ndrawn;
	frame->pages = share * unread;
	frame->variance = ndrawn == 0 ? 0 :
		unread * unread * share * (1 - share) / ndrawn * (1 - ndrawn / unread);
}

/*
 * Reads a random sample of the frame's pages, and adds what all pages of the
 * frame are likely to have.
 */
static void
sample_frame(Sampling *s, const Frame *frame)
{
	QamSample  *sample = s->sample;
	double		sum[QAM_NDEPTHS] = {0};
	double		squares[QAM_NDEPTHS] = {0};
	BlockSamplerData drawer;
	int			n;
	int			d;

	BlockSampler_Init(&drawer, frame->nblocks, s->bounds.sampled,
					  pg_prng_uint32(&pg_global_prng_state));
	for (n = 0; BlockSampler_HasMore(&drawer); n++)
	{
		read_page(s, frame->blocks[BlockSampler_Next(&drawer)], false);
		for (d = 0; d < QAM_NDEPTHS; d++)
		{
			sum[d] += s->counts[d];
			squares[d] += s->counts[d] * s->counts[d];
		}
	}

	for (d = 0; d < QAM_NDEPTHS && n > 0; d++)
	{
		double		mean = sum[d] / n;
		double		spread = n == 1 ? mean * mean : Max(squares[d] - sum[d] * mean, 0) / (n - 1);
		double		unread = Max(1 - n / frame->pages, 0);

		sample->depth[d] += mean * frame->pages;
		if (unread == 0 && frame->variance == 0)
			continue;
		sample->error[d] = sqrt(frame->pages * frame->pages * unread * spread / n +
								mean * mean * frame->variance);

		/*
		 * If the sampled pages are all alike, the others need not be.  A page
		 * full of messages that are different could have been drawn.
		 */
		sample->error[d] = Max(sample->error[d], frame->pages / n * QAM_SLOTS_PER_PAGE);
	}
}

/*
 * Estimates the numbers of a queue that has too many pages to read them all.
 */
static void
estimate(Sampling *s)
{
	QamSample  *sample = s->sample;
	Frame		frame;

	s->read = palloc(sizeof(BlockNumber) * s->bounds.head * QAM_LANES);
	s->lane = -1;
	qam_along(sample->index, s->copy, true, read_head, s);
	if (s->all)
		frame_linked(s, &frame);
	else
	{
		frame_file(s, &frame);
		if (frame.nblocks < FEW_HITS)
		{
			Frame		linked;

			frame_linked(s, &linked);
			linked.pages = Max(linked.pages, frame.pages);
			linked.variance = frame.variance;
			frame = linked;
		}
	}
	sample_frame(s, &frame);
}

/*
 * qam_sample counts or estimates the messages of a queue by their states.
 */
void
qam_sample(QamSample *sample)
{
	Sampling	s = {.sample = sample,.bounds = default_bounds};
	int			i;

	if (once_debug_is("sample_linked"))
		s.bounds = small_bounds;
	else if (once_debug_is("sample_file"))
	{
		s.bounds = small_bounds;
		s.bounds.linked = 8;
	}

	sample->pages = RelationGetNumberOfBlocks(sample->index);
	sample->oldest_ready = sample->oldest_claim = DT_NOEND;
	for (i = 0; i < QAM_NDEPTHS; i++)
		sample->depth[i] = sample->error[i] = 0;

	s.now = GetCurrentTimestamp();
	s.heads = qam_now_heads("once.stat_queues");
	s.copy = palloc(sizeof(QamCopiedPage));
	s.linked = palloc(sizeof(BlockNumber) * s.bounds.linked);
	s.all = true;
	qam_along(sample->index, s.copy, false, collect, &s);
	if (s.all && s.nlinked <= s.bounds.whole)
	{
		for (i = 0; i < s.nlinked; i++)
		{
			read_page(&s, s.linked[i], true);
			add_counts(&s);
		}
	}
	else
		estimate(&s);
	if (BufferIsValid(s.heap_buffer))
		ReleaseBuffer(s.heap_buffer);
	hash_destroy(s.heads);
}
