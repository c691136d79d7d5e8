"""One reader of tables for every task: CSV and TSV in all their dialects, and Excel workbooks."""
