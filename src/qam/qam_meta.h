/*-------------------------------------------------------------------------
 *
 * qam_meta.h
 *	  The metapage, free pages, wake-ups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_META_H
#define QAM_META_H

#include "qam/qam_format.h"
#include "qam/qam_xlog.h"

extern QamMeta qam_meta_check(Relation index, Page page);
extern void qam_meta_read(Relation index, QamMetaData *meta);
extern const uint64 *qam_meta_nonce(Relation index);
extern const uint64 *qam_meta_group_key(Relation index);
extern BlockNumber qam_meta_directory(Relation index);
extern BlockNumber qam_meta_schedule(Relation index);
extern Buffer qam_meta_get_page(Relation index, QamLink *free);
extern void qam_meta_random(uint64 *nonce);
extern void qam_meta_renew_nonce(QamLog *log, Page page, const uint64 *nonce);
extern bool qam_meta_adopt_page(Relation index, Buffer buffer);
extern void qam_meta_wake(Relation index, uint64 seq);

#endif							/* QAM_META_H */
