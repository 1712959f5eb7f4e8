/*-------------------------------------------------------------------------
 *
 * qam_parameters.h
 *	  Storage parameters of a queue index.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_PARAMETERS_H
#define QAM_PARAMETERS_H

#include "qam/qam.h"

extern void qam_parameters_init(void);
extern bytea *qamoptions(Datum reloptions, bool validate);

#endif							/* QAM_PARAMETERS_H */
