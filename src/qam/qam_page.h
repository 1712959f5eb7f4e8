/*-------------------------------------------------------------------------
 *
 * qam_page.h
 *	  The functions that change the bytes of pages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_PAGE_H
#define QAM_PAGE_H

#include "qam/qam_format.h"
#include "qam/qam_xlog.h"

extern void qam_page_init_meta(Page page, const uint64 *nonce, const uint64 *group_key);
extern void qam_page_init(Page page, uint16 kind, int lane, uint64 seq);
extern void qam_page_append(QamLog *log, Page page, const QamSlot *slots, int nslots);
extern void qam_page_set_slot(QamLog *log, Page page, int slot, const QamSlot *new);
extern void qam_page_set_over(QamLog *log, Page page, int slot, bool keep_claim,
							  uint64 gone_by);
extern void qam_page_set_done(QamLog *log, Page page, int slot);
extern void qam_page_unblock(QamLog *log, Page page, int slot, bool idle,
							 uint64 gone_by);
extern void qam_page_set_successor(QamLog *log, Page page, int slot, const QamPlace *next);
extern void qam_page_set_slot_hint(QamLog *log, Page page, int slot, uint8 hints);
extern void qam_page_set_acked(QamLog *log, Page page, int slot);
extern void qam_page_set_hints(QamLog *log, Page page, int64 earliest, uint64 owner,
							   int first_unfinished);
extern void qam_page_lower_earliest(QamLog *log, Page page, int64 earliest);
extern void qam_page_unset_earliest(QamLog *log, Page page);
extern void qam_page_set_next(QamLog *log, Page page, QamLink next);
extern void qam_page_set_free(QamLog *log, Page page, QamLink next_free);
extern void qam_page_set_lane_head(QamLog *log, Page page, int lane, QamLink head);
extern void qam_page_set_lane_tail(QamLog *log, Page page, int lane, QamLink tail);
extern void qam_page_set_free_list(QamLog *log, Page page, QamLink free);
extern void qam_page_set_nonce(QamLog *log, Page page, const uint64 *nonce);
extern uint64 qam_page_next_seq(QamLog *log, Page page);
extern void qam_page_count_wakeup(QamLog *log, Page page, uint64 seq);
extern void qam_page_set_directory(QamLog *log, Page page, BlockNumber block);
extern void qam_page_set_schedule(QamLog *log, Page page, BlockNumber block);
extern void qam_page_init_directory(Page page, uint64 seq, BlockNumber groups);
extern void qam_page_split_groups(QamLog *log, Page root, Page old, Page new,
								  BlockNumber new_block, uint64 seq, uint32 hash);
extern void qam_page_set_group(QamLog *log, Page page, int i, const QamGroup *group);
extern void qam_page_remove_group(QamLog *log, Page page, int i);
extern void qam_page_init_schedule(Page page, uint64 seq, uint64 cursor);
extern void qam_page_set_cursor(QamLog *log, Page page, uint64 cursor);
extern void qam_page_set_near_due(QamLog *log, Page page, int64 near_due);
extern void qam_page_set_ends(QamLog *log, Page page, int offset, QamListEnds ends);

extern bool qam_page_is_removable(Page page);
extern bool qam_page_is_spent(Page page);

#endif							/* QAM_PAGE_H */
