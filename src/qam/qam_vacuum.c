/*-------------------------------------------------------------------------
 *
 * qam_vacuum.c
 *	  What VACUUM does to a queue index.
 *
 * Interlock with walks: VACUUM makes a row's line pointer reusable only after
 * ambulkdelete has returned.  Before that, ambulkdelete has made every slot
 * that leads to such a row DONE, or ENDED if it is in a group, with the slot's
 * page locked exclusively.  A walk judges a row with the slot's page locked,
 * and only if the slot is not over.  So what it finds there is the slot's row,
 * and not another that came later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "commands/vacuum.h"
#include "qam/qam_cache.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_schedule.h"
#include "qam/qam_vacuum.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

/*
 * End the slots of one page whose rows are dead.  The page is locked
 * exclusively.
 *
 * Returns how many groups have lost their first slot by this; their hashes go
 * to "groups".
 */
static int
vacuum_page(Relation index, Buffer buffer, IndexBulkDeleteResult *stats,
			IndexBulkDeleteCallback callback, void *callback_state,
			uint32 *groups)
{
	Page		page = BufferGetPage(buffer);
	QamSlot    *slots = QamPageGetSlots(page);
	int			n = QamPageGetSlotCount(page);
	bool		in_lane = QamPageGetOpaque(page)->kind == QAM_PAGE_LANE;
	uint16		dead[(BLCKSZ / sizeof(QamSlot)) + 1];
	int			ndead = 0;
	int			ngroups = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		if (QamSlotIsOver(&slots[i]))
			continue;
		qam_require_slot(index, BufferGetBlockNumber(buffer), i, &slots[i],
						 QamPageGetOpaque(page)->kind);
		if (callback(&slots[i].tid, callback_state))
			dead[ndead++] = i;
		else
			stats->num_index_tuples++;
	}
	if (ndead > 0)
	{
		QamLog		log;

		qam_log_begin(&log, index);
		page = qam_log_page(&log, buffer, false);
		for (i = 0; i < ndead; i++)
			qam_page_set_over(&log, page, dead[i], false, 0);
		qam_log_finish(&log);
		stats->tuples_removed += ndead;
		for (i = 0; i < ndead; i++)
			if (in_lane && slots[dead[i]].group_hash != 0 &&
				!QamSlotIsBlocked(&slots[dead[i]]))
				groups[ngroups++] = slots[dead[i]].group_hash;
	}
	return ngroups;
}

/*
 * qambulkdelete is ambulkdelete.
 *
 * Pages are read in physical order.  A slot that is appended behind us, where
 * we have already been, does not belong to a row that was dead before.
 * Neither does a slot that moves from the schedule to such a page (see
 * qam_move.c).
 *
 * Pages of zeros that we come by are put onto the free list.
 */
IndexBulkDeleteResult *
qambulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			  IndexBulkDeleteCallback callback, void *callback_state)
{
	Relation	index = info->index;
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BlockNumber block;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	stats->num_index_tuples = 0;
	for (block = QAM_METAPAGE + 1; block < nblocks; block++)
	{
		Buffer		buffer;
		Page		page;
		uint32		groups[(BLCKSZ / sizeof(QamSlot)) + 1];
		int			ngroups = 0;
		bool		is_new;

		once_vacuum_delay_point();
		buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL,
									info->strategy);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		page = BufferGetPage(buffer);
		is_new = PageIsNew(page);
		if (!is_new)
		{
			qam_require_page(index, buffer);
			if (QamPageGetOpaque(page)->kind == QAM_PAGE_LANE ||
				QamPageGetOpaque(page)->kind == QAM_PAGE_BUCKET)
				ngroups = vacuum_page(index, buffer, stats, callback, callback_state,
									  groups);
		}
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (is_new && qam_meta_adopt_page(index, buffer))
			stats->pages_deleted++;
		ReleaseBuffer(buffer);
		while (ngroups > 0)
			qam_group_advance(index, groups[--ngroups], NULL);
	}
	return stats;
}

/*
 * Unlink all spent pages of a lane, waiting for busy ones.
 *
 * If somebody else unlinks a page on our way, the rest of the lane is left to
 * the next VACUUM.  Numbers grow along a list, so the loop ends.
 */
static void
vacuum_lane(Relation index, int lane, QamLink link, BufferAccessStrategy strategy)
{
	QamLink		pred = qam_no_link();

	while (QamLinkIsValid(&link))
	{
		Buffer		buffer;
		Page		page;
		QamLink		next;
		bool		finished;

		once_vacuum_delay_point();
		if (!qam_block_exists(index, link.block))
			return;
		buffer = ReadBufferExtended(index, MAIN_FORKNUM, link.block, RBM_NORMAL,
									strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buffer);
		if (!qam_page_is(page, &link, lane))
		{
			UnlockReleaseBuffer(buffer);
			return;
		}
		next = QamPageGetOpaque(page)->next;
		finished = qam_page_is_removable(page);
		UnlockReleaseBuffer(buffer);
		if (!finished ||
			!qam_lane_unlink(index, lane, QamLinkIsValid(&pred) ? &pred : NULL, &link, true))
			pred = link;
		link = next;
	}
}

/*
 * Put the pages of zeros that a crash has left onto the free list.  Returns
 * how many there were.
 *
 * To find them, each page of the index has to be read.
 */
static BlockNumber
vacuum_new_pages(Relation index, BufferAccessStrategy strategy)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BlockNumber block;
	BlockNumber adopted = 0;

	for (block = QAM_METAPAGE + 1; block < nblocks; block++)
	{
		Buffer		buffer;
		bool		is_new;

		once_vacuum_delay_point();
		buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		is_new = PageIsNew(BufferGetPage(buffer));
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (is_new && qam_meta_adopt_page(index, buffer))
			adopted++;
		ReleaseBuffer(buffer);
	}
	return adopted;
}

/*
 * qamvacuumcleanup is amvacuumcleanup.
 *
 * If ambulkdelete was called, it has looked at each page already.
 */
IndexBulkDeleteResult *
qamvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	Relation	index = info->index;
	QamMetaData meta;
	int			lane;

	if (info->analyze_only)
		return stats;
	if (stats == NULL)
	{
		stats = palloc0(sizeof(IndexBulkDeleteResult));
		stats->estimated_count = true;
		stats->num_index_tuples = info->num_heap_tuples;
		stats->pages_deleted = vacuum_new_pages(index, info->strategy);
	}
	qam_meta_read(index, &meta);
	for (lane = 0; lane < QAM_LANES; lane++)
		vacuum_lane(index, lane, meta.lanes[lane].head, info->strategy);
	qam_schedule_clean(index, info->strategy);
	stats->num_pages = RelationGetNumberOfBlocks(index);
	return stats;
}
