"""The history of the catalog's schema. Run by `storage.migrate`; what was released is never edited."""
