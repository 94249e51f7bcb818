package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/live"
)

func TestFilter(t *testing.T) {
	flow := live.Flow{
		Protocol: nat.TCP, Source: netip.MustParseAddrPort("192.0.2.1:40000"),
		Target: netip.MustParseAddrPort("10.96.0.1:443"), Endpoint: netip.MustParseAddrPort("10.1.2.3:6443"),
	}
	for _, row := range []struct {
		by   filter
		want bool
	}{
		{filter{}, true},
		{filter{proto: "tcp"}, true},
		{filter{proto: "UDP"}, false},
		{filter{src: "192.0.2.1"}, true},
		{filter{src: "192.0.2.0/30"}, true},
		{filter{src: "192.0.2.2"}, false},
		{filter{dst: "10.96.0.1"}, true},
		{filter{dst: "10.1.0.0/16", proto: "tcp"}, true},
		{filter{dst: "10.2.0.0/16"}, false},
		{filter{port: 443}, true},
		{filter{port: 6443}, true},
		{filter{port: 80}, false},
		{filter{proto: "tcp", port: 443, src: "192.0.2.9"}, false},
	} {
		require.NoError(t, row.by.read())
		require.Equal(t, row.want, row.by.match(flow), "%+v", row.by)
	}
	for word, by := range map[string]filter{"proto": {proto: "tpc"}, "--src \"here\"": {src: "here"}, "--dst \"10.0.0.0/40\"": {dst: "10.0.0.0/40"}} {
		require.ErrorContains(t, by.read(), word)
	}
}
