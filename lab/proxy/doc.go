// Package proxy runs real kube-proxies, one in each node of a lab, against an API server in the same process, and tells by their own metrics when
// they have programmed what they were told. It builds a release's kube-proxy where a program is not given. It writes no rule itself.
package proxy
