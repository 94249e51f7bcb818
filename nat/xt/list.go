package xt

// rows is every extension, a row each. The order does not count.
var rows = []*Extension{
	&addrTypeRow,
	&commentRow,
	&connLimitRow,
	&conntrackRow,
	&hlRow,
	&markRow,
	&setHLRow,
	&setMarkRow,
	&setTTLRow,
	&ttlRow,
}
