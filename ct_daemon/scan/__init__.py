"""Files to Arrow tables, tables to arrays, arrays to profiles."""
