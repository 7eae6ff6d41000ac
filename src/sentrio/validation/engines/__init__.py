"""Where morsels run."""
