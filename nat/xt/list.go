package xt

// rows is every extension, a row each. The order does not count.
var rows = []*Extension{
	&addrTypeRow,
	&commentRow,
	&connLimitRow,
	&conntrackRow,
	&dscpRow,
	&ecnRow,
	&hlRow,
	&ipRangeRow,
	&lengthRow,
	&macRow,
	&markRow,
	&pktTypeRow,
	&setDSCPRow,
	&setECNRow,
	&setHLRow,
	&setMarkRow,
	&setTOSRow,
	&setTTLRow,
	&tosRow,
	&ttlRow,
}
