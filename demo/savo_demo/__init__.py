"""The guided demo of the whole flywheel, its generated photos and its stand-in for the paid providers."""
