/*-------------------------------------------------------------------------
 *
 * ledger_turn.h
 *	  How the state of a ledger goes on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_TURN_H
#define LEDGER_TURN_H

#include "ledger/ledger.h"

extern void once_ledger_reopen(const OnceLedger *ledger);

#endif							/* LEDGER_TURN_H */
