"""The ledger: tables, repositories, migrations, retention and the lock of the state folder."""
