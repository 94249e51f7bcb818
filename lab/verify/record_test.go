package verify

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/nat/gateway"
	"natlab/nat/nftables"
)

// What nodes hold of nf_tables' own comes out of a recording as it went in.
func TestRecordNative(t *testing.T) {
	t.Parallel()
	text := "table inet mine {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n\t\ttcp dport 22 drop\n\t}\n}\n"
	rs, err := nftables.ParseText(text)
	require.NoError(t, err)
	var about, back Recording
	about.keep(nodeRules{network: lab.Network{Setup: gateway.Setup{NFTOf: map[string]nftables.Ruleset{"n": rs}}}}, nil)
	b, err := json.Marshal(about)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &back))
	native, err := back.native()
	require.NoError(t, err)
	require.Equal(t, text, native["n"].String())
	back.Native["n"] = "table {"
	_, err = back.native()
	require.ErrorContains(t, err, "nftables' rules of n: ")
}
