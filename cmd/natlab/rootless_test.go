package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is built before a command goes into its user namespace is what --kube-proxy names, once or several times.
func TestRootlessKubeProxies(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"up": "", "verify": "", "scenario run": "", "status": "",
		"up --kube-proxy 1.37.2":                                 "1.37.2",
		"verify --kube-proxy=./kube-proxy":                       "./kube-proxy",
		"scenario run --kube-proxy 1.33.0 --kube-proxy 1.37.2,x": "1.33.0 1.37.2 x",
	} {
		p := program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
		cmd, flags, err := p.root().Find(strings.Fields(line))
		require.NoError(t, err, line)
		require.NoError(t, cmd.ParseFlags(flags), line)
		require.Equal(t, want, strings.Join(kubeProxies(cmd.Flags().Lookup("kube-proxy")), " "), line)
	}
}
