/*-------------------------------------------------------------------------
 *
 * qam_damage.h
 *	  Pages that are not what they should be, and following links.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_DAMAGE_H
#define QAM_DAMAGE_H

#include "qam/qam_format.h"
#include "storage/buf.h"
#include "utils/relcache.h"

pg_noreturn extern void qam_broken(Relation index, BlockNumber block,
								   const char *format,...) pg_attribute_printf(3, 4);
extern const char *qam_page_fault(Page page);
extern const char *qam_slot_fault(const QamSlot *slot, uint16 kind);
extern void qam_require_page(Relation index, Buffer buffer);
extern void qam_require_slot(Relation index, BlockNumber block, int slotno,
							 const QamSlot *slot, uint16 kind);
extern bool qam_successor_is_later(const QamSlot *slot, BlockNumber block, uint64 seq,
								   int slotno);
extern bool qam_page_is(Page page, const QamLink *link, int lane);
extern bool qam_seems_to_be(Page page, uint16 kind, uint64 seq, uint64 mask);
extern void qam_require_block(Relation index, BlockNumber block, const char *what);
extern Buffer qam_pin_block(Relation index, BlockNumber block, const char *what);
extern Buffer qam_pin_row(Relation heap, Relation index, BlockNumber block);
extern Buffer qam_follow(Relation index, const char *what, QamLink link, uint16 kind,
						 int mode);
extern Buffer qam_follow_place(Relation index, const QamPlace *place, int mode);

#endif							/* QAM_DAMAGE_H */
