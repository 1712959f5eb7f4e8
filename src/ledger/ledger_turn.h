/*-------------------------------------------------------------------------
 *
 * ledger_turn.h
 *	  How a ledger goes from one state to the next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_TURN_H
#define LEDGER_TURN_H

#include "ledger/ledger.h"

extern void once_ledger_reopen(const OnceLedger *ledger);

#endif							/* LEDGER_TURN_H */
