package xt

// rows is every extension, a row each. The order does not count.
var rows = []*Extension{
	&addrTypeRow,
	&commentRow,
	&connLimitRow,
	&connMarkRow,
	&conntrackRow,
	&ctRow,
	&dscpRow,
	&ecnRow,
	&hlRow,
	&ipRangeRow,
	&lengthRow,
	&macRow,
	&markRow,
	&pktTypeRow,
	&setConnMarkRow,
	&setDSCPRow,
	&setECNRow,
	&setHLRow,
	&setMarkRow,
	&setTOSRow,
	&setTTLRow,
	&tosRow,
	&ttlRow,
}
