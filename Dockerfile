# The Tandem worker and CLI. It needs no database, no disk and no root: an OpenSSH client and the keys mounted to ~/.ssh.
FROM node:20.20.2-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY scripts ./scripts
COPY src ./src
COPY workflows ./workflows
COPY activities ./activities
RUN npm run build && npm prune --omit=dev

FROM node:20.20.2-bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates openssh-client rsync \
  && rm -rf /var/lib/apt/lists/*
# Whoever may read the mounted keys: ssh reads keys of its own user only, and refuses a uid without a name.
ARG TANDEM_UID=1000
RUN usermod --uid $TANDEM_UID --login tandem --home /home/tandem --move-home node && groupmod --new-name tandem node
ENV NODE_ENV=production HOME=/home/tandem
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
USER tandem
ENTRYPOINT ["node", "/app/dist/src/cli/main.js"]
CMD ["worker"]
