"""`make demo`: a shop of real processes that can be broken, mended and driven from its pages."""
