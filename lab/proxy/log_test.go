package proxy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A value of several lines is part of its entry.
func TestLogLines(t *testing.T) {
	text := "I1 starts\nE1 \"nftables sync failed\" err=<\n\t/dev/stdin:75:102-106: Error: Interface does not exist\n\tadd rule ip kube-proxy c iif cali*\n\t           ^^^^^\n >\nI1 goes on\n"
	require.Equal(t, []string{
		"I1 starts", `E1 "nftables sync failed" err= /dev/stdin:75:102-106: Error: Interface does not exist add rule ip kube-proxy c iif cali*`, "I1 goes on",
	}, logLines(text))
	require.Empty(t, logLines(""))
}
