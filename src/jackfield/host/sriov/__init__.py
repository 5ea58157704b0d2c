"""SR-IOV: virtual functions, in sysfs and through the links of their physical functions."""
