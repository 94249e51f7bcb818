package test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/iptables"
)

// rateRules ask two estimators: one that no packet reaches, of which the rates are 0 at any moment, and one that all do.
var rateRules = []string{
	"-A PREROUTING -j RATEEST --rateest-name busy --rateest-interval 250.0ms --rateest-ewmalog 500.0ms",
	"-A PREROUTING -s 198.51.100.1/32 -j RATEEST --rateest-name idle --rateest-interval 250.0ms --rateest-ewmalog 500.0ms",
	"-A FORWARD -m rateest --rateest idle --rateest-lt --rateest-bps 8bit", "-A FORWARD -m rateest --rateest idle --rateest-eq --rateest-pps 0",
	"-A FORWARD -m rateest --rateest idle ! --rateest-eq --rateest-pps 5", "-A FORWARD -m rateest --rateest idle --rateest-gt --rateest-bps 2000Mbit",
	"-A FORWARD -m rateest --rateest-delta --rateest idle --rateest-bps1 8bit --rateest-lt --rateest-bps2 16bit",
	"-A FORWARD -m rateest --rateest-delta --rateest idle --rateest-pps1 10 --rateest-gt --rateest-pps2 5",
}

// busyRule asks of an estimator that has seen packets.
const busyRule = "-A FORWARD -m rateest --rateest busy --rateest-gt --rateest-pps 0"

// An estimator that no packet reached has rates of 0; what the rates of another one are is of the clock, and said to be unknown.
func TestDifferentialRates(t *testing.T) {
	t.Parallel()
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		for _, rules := range [][]string{rateRules, append(rateRules[:2:2], busyRule)} {
			rs, err := iptables.ParseString(textIn(w.family, mangleRules(rules...)), w.family)
			require.NoError(t, err)
			w.load(t, rs)
			clear(w.unmodelled)
			for _, p := range contentPackets(t, w.family)[:6] {
				if diff := w.give(t, "in0", p, 0); diff != undecided {
					require.Empty(t, diff)
				}
			}
			if w.unknown != "" {
				require.Contains(t, w.unknown, "--rateest busy")
			}
			require.Equal(t, len(rules) == 3, w.unknown != "", "%v", rules)
		}
	})
}
