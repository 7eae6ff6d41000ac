"""A general async toolkit for trio, asyncio and uvloop. It knows nothing of data."""
