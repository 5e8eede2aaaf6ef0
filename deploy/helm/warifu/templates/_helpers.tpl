{{/* Names. */}}
{{- define "warifu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "warifu.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "warifu.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "warifu.coordinator" -}}{{ include "warifu.fullname" . }}-coordinator{{- end -}}
{{- define "warifu.peers" -}}{{ include "warifu.fullname" . }}-peers{{- end -}}
{{- define "warifu.worker" -}}{{ include "warifu.fullname" . }}-worker{{- end -}}

{{- define "warifu.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "warifu.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels; called with (dict "root" $ "component" "worker"). */}}
{{- define "warifu.selector" -}}
app.kubernetes.io/name: {{ include "warifu.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "warifu.labels" -}}
{{ include "warifu.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: warifu
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image; called with (dict "root" $ "image" $image "name" "warifu-worker"). */}}
{{- define "warifu.image" -}}
{{- $registry := ternary "" (printf "%s/" .root.Values.image.registry) (empty .root.Values.image.registry) -}}
{{- $repository := default (printf "%s%s" $registry .name) .image.repository -}}
{{- if .image.digest -}}
{{ $repository }}@{{ .image.digest }}
{{- else -}}
{{ $repository }}:{{ coalesce .image.tag .root.Values.image.tag .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "warifu.scheme" -}}{{ ternary "https" "http" .Values.tls.enabled }}{{- end -}}

{{/* Where clients find a coordinator. */}}
{{- define "warifu.endpoint" -}}
{{ include "warifu.scheme" . }}://{{ include "warifu.coordinator" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:7400
{{- end -}}

{{/* A map as TOML: keys first, then its tables. Whole numbers stay whole, which toToml does not see to.
     Called with (dict "table" $map "path" ""). */}}
{{- define "warifu.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (kindIs "map" $value) -}}
{{- if and (kindIs "float64" $value) (eq $value (floor $value)) }}
{{ $key }} = {{ int64 $value }}
{{- else if not (kindIs "invalid" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value }}
{{- $name := ternary $key (printf "%s.%s" $path $key) (empty $path) }}

[{{ $name }}]
{{- include "warifu.toml" (dict "table" $value "path" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* [s3], which coordinators and workers share. */}}
{{- define "warifu.s3" -}}
{{- $s3 := dict "region" .Values.s3.region "force_path_style" .Values.s3.forcePathStyle -}}
{{- with .Values.s3.endpointUrl }}{{ $_ := set $s3 "endpoint_url" . }}{{ end -}}
{{- toYaml $s3 -}}
{{- end -}}

{{/* Credentials for S3 and the token as variables. */}}
{{- define "warifu.s3Environment" -}}
{{- with .Values.s3.credentialsSecret }}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" }}
- name: {{ $key }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.s3.credentialsSecret }}, key: {{ $key }}, optional: {{ eq $key "AWS_SESSION_TOKEN" }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "warifu.tokenEnvironment" -}}
{{- with .Values.auth.clientTokenSecret }}
- name: WARIFU_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: token}
{{- end }}
{{- end -}}

{{/* What has to be said before anything is made. */}}
{{- define "warifu.check" -}}
{{- if and .Values.coordinator.enabled (eq .Values.store.type "sqlite") (ne (int .Values.coordinator.replicas) 1) -}}
{{- fail "store.type sqlite is for one coordinator: set coordinator.replicas to 1, or store.type to etcd" -}}
{{- end -}}
{{- if and .Values.tls.enabled (not .Values.tls.secret) -}}
{{- fail "tls.enabled needs tls.secret: a Secret with tls.crt, tls.key and ca.crt" -}}
{{- end -}}
{{- if and .Values.store.etcd.tls.secret (eq .Values.store.type "etcd") -}}
{{- range .Values.store.etcd.endpoints -}}
{{- if not (hasPrefix "https://" .) -}}{{- fail (printf "store.etcd.tls.secret is set, so %s must be https" .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $grace := int .Values.worker.terminationGracePeriodSeconds -}}
{{- if and (gt $grace 0) (lt $grace (add (int .Values.worker.drainTimeoutSeconds) 10 | int)) -}}
{{- fail "worker.terminationGracePeriodSeconds must be 0, or at least 10 s more than worker.drainTimeoutSeconds" -}}
{{- end -}}
{{- if and .Values.worker.keda.enabled .Values.worker.autoscaling.enabled -}}
{{- fail "worker.keda and worker.autoscaling exclude each other: KEDA makes a HorizontalPodAutoscaler of its own" -}}
{{- end -}}
{{- if and .Values.worker.enabled (not .Values.coordinator.enabled) (not .Values.worker.endpoints) -}}
{{- fail "without coordinators of its own a release needs worker.endpoints" -}}
{{- end -}}
{{- if and .Values.worker.keda.enabled (not .Values.coordinator.enabled) (ne (len .Values.worker.endpoints) 1) -}}
{{- fail "worker.keda without coordinators of its own needs exactly one of worker.endpoints: the Service of the others" -}}
{{- end -}}
{{- end -}}
