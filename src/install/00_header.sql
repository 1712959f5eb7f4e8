-- complain if this file is sourced in psql, rather than through CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_once" to load this file. \quit

