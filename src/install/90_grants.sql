-- Every verb checks the rights of its caller on the queue's own table, so
-- EXECUTE is everybody's; only what makes new tables is handed out by name.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA once FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA once TO PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_ledger(text, interval, boolean, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_queue(text, boolean, boolean, boolean, integer, interval, interval, interval, interval, interval, text, interval) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.execute_support(internal) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.once_queue_handler(internal) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.restore_row() FROM PUBLIC;
