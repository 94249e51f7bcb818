package topology

const announceDevice = "lb0"
