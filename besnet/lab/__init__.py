"""Labs: several networks trained and evaluated for one comparison, and a page with the results."""
