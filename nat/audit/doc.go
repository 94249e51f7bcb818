// Package audit compares what kube-proxy would have written for a node with what the node's kernel holds, in both
// backends of iptables and in connection tracking, and tells of each difference what it does, which known issue it is,
// and how to mend it. It looks at values only; lab reads them.
package audit
