"""The auth feature: what tells who somebody is."""
