{{- define "recon3d.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of what belongs to the whole cluster: two releases in two namespaces do not collide. */}}
{{- define "recon3d.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "recon3d.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "recon3d.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: recon3d
{{- end -}}

{{/* Labels by which a part's Pods are found: (dict "root" . "part" "operator") */}}
{{- define "recon3d.selector" -}}
app.kubernetes.io/name: recon3d-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* The jobs' namespaces, one a line. */}}
{{- define "recon3d.namespaces" -}}
{{- range (.Values.jobs.namespaces | default (list .Release.Namespace) | uniq) }}
{{ . }}
{{- end -}}
{{- end -}}

{{- define "recon3d.apiNamespace" -}}
{{- .Values.api.namespace | default (first (.Values.jobs.namespaces | default (list .Release.Namespace))) -}}
{{- end -}}

{{- define "recon3d.image" -}}
{{- $image := index .root.Values.image .name -}}
{{- $tag := $image.tag | default .tag -}}
{{- $repository := $image.repository -}}
{{- if .root.Values.image.registry -}}
{{- $repository = printf "%s/%s" .root.Values.image.registry $image.repository -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "recon3d.operatorImage" -}}
{{- include "recon3d.image" (dict "root" . "name" "operator" "tag" .Chart.AppVersion) -}}
{{- end -}}

{{- define "recon3d.runnerImage" -}}
{{- $suffix := ternary "cpu" "nvdiffrec" (eq .Values.device "cpu") -}}
{{- include "recon3d.image" (dict "root" . "name" "runner" "tag" (printf "%s-%s" .Chart.AppVersion $suffix)) -}}
{{- end -}}

{{- define "recon3d.claim" -}}
{{- .Values.store.pvc.existingClaim | default (printf "%s-store" (include "recon3d.fullname" .)) -}}
{{- end -}}

{{- define "recon3d.s3" -}}
{{- printf "s3://%s%s" .Values.store.s3.bucket (ternary (printf "/%s" .Values.store.s3.prefix) "" (ne .Values.store.s3.prefix "")) -}}
{{- end -}}

{{/* The store as runners' Pods see it. */}}
{{- define "recon3d.store" -}}
{{- if eq .Values.store.type "s3" -}}
{{- include "recon3d.s3" . -}}
{{- else -}}
pvc:{{ include "recon3d.claim" . }}
{{- end -}}
{{- end -}}

{{- define "recon3d.licences" -}}
{{- $accepted := list -}}
{{- if .Values.licenses.nvdiffrast.acceptNonCommercial -}}{{- $accepted = append $accepted "nvdiffrast" -}}{{- end -}}
{{- if .Values.licenses.reconviagen.acceptNonCommercial -}}
{{- $accepted = append $accepted "vggt-weights" -}}
{{- end -}}
{{- join "," $accepted -}}
{{- end -}}

{{- define "recon3d.progressSecret" -}}
{{- .Values.progress.tls.secretName | default (printf "%s-progress-tls" (include "recon3d.fullname" .)) -}}
{{- end -}}

{{- define "recon3d.progressCa" -}}
{{- .Values.progress.tls.caConfigMap | default (printf "%s-progress-ca" (include "recon3d.fullname" .)) -}}
{{- end -}}

{{- define "recon3d.priorityClass" -}}
{{- printf "%s-runner" (include "recon3d.clusterName" .) -}}
{{- end -}}

{{/* What every runner's Pod has, as RECON3D_POD_DEFAULTS. */}}
{{- define "recon3d.podDefaults" -}}
{{- $defaults := dict -}}
{{- with .Values.runner.nodeSelector -}}{{- $_ := set $defaults "nodeSelector" . -}}{{- end -}}
{{- with .Values.runner.tolerations -}}{{- $_ := set $defaults "tolerations" . -}}{{- end -}}
{{- with .Values.runner.runtimeClassName -}}{{- $_ := set $defaults "runtimeClassName" . -}}{{- end -}}
{{- if .Values.runner.priorityClass.create -}}
{{- $_ := set $defaults "priorityClassName" (include "recon3d.priorityClass" .) -}}
{{- end -}}
{{- toJson $defaults -}}
{{- end -}}

{{- define "recon3d.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "recon3d.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "recon3d.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}
